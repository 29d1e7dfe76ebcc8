"""What /metrics shows: requests counted from nginx's log, the model servers' counters, the page."""
