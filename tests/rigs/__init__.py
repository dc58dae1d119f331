"""What tests play against: the recorded provider, a server that can be killed, and clients that talk to it."""
