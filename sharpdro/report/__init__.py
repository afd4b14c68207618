"""What many runs left, put together: tables, pictures, a page. Knows no MindSpore."""
