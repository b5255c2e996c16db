"""The servers that `bbqrec up` keeps running, and what it takes to start, watch, stop and clear up after them."""
