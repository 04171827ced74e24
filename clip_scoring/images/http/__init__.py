"""Images fetched from the web: guarded, bounded in time and bytes, gentle to hosts."""
