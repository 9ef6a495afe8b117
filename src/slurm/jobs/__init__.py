"""Jobs: handles of one call or of many calls, and how calls are submitted, waited for and cancelled."""
