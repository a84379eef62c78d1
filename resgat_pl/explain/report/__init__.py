"""What ``resgat explain`` hands to the user: a document as JSON, pictures, and a web page."""
