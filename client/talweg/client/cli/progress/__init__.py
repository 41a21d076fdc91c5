"""Follow jobs as they train: live on a terminal, line by line elsewhere."""
