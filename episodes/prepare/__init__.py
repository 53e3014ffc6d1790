"""Raw folders become stores."""
