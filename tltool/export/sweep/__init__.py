"""Every precision of one model beside each other, and which of them is chosen."""
