"""Jobs: handles of one call and of many, how they are submitted, waited for and cancelled."""
