"""What BIDS asks for: which runs there are, how results are named and described."""
