"""DNS names, messages, RRsets and compiled answers. Pure: functions take and return only bytes and values."""
