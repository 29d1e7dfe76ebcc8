"""What the tests share: starting real stacks, and talking to them."""
