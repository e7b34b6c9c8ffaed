"""What every target on Google has in its list for connect: google.py and the kinds of resources."""
