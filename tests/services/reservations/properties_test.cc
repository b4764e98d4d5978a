int unused_until_written = 0;
