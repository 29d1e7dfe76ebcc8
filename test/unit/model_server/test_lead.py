import threading

from tfsd.model_server.lead import Lead, leave

TIMEOUT = 20.0


def test_one_thread_leads_and_the_next_one_takes_over() -> None:
    seen: list[str] = []
    lead = Lead(lambda: seen.append(threading.current_thread().name))
    lead.take()
    took = threading.Event()

    def follow() -> None:
        lead.take()
        took.set()

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    assert lead.mine
    assert not took.is_set()

    leave()

    assert took.wait(TIMEOUT)
    assert not lead.mine
    assert seen == [threading.current_thread().name]


def test_a_thread_that_does_not_lead_has_nothing_to_leave() -> None:
    seen: list[None] = []
    lead = Lead(lambda: seen.append(None))
    leave()
    lead.leave()
    lead.take()
    for leaves in (leave, lead.leave):
        other = threading.Thread(target=leaves)
        other.start()
        other.join(TIMEOUT)

    assert lead.mine
    leave()
    leave()
    assert seen == [None]
