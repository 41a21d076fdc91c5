"""What the plots of several tasks share. With them comes matplotlib, which no training loads."""
