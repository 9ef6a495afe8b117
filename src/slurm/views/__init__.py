"""Views: show jobs as text, as pictures and in notebooks."""
