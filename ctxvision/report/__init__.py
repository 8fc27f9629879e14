"""Records to `report.html`."""
