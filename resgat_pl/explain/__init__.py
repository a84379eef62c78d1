"""Maps over the face that say why a face was called fake."""
