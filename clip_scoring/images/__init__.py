"""From an image URI to pixels: fetch, decode, resize; everything bad is a rejection."""
