"""Pictures of explanations: overlays on faces, and figures that compare methods."""
