"""The demo's data: 100,000 MovieTweetings ratings and film titles; see LICENSE-movietweetings.txt."""
