"""The author's side: one MyST source a notebook becomes a starter, a solution and the copies that tests run."""
