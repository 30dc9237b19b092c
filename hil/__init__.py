"""Hardware in the loop: numbered scenarios on a real CAN bus, judged by what can be seen on that bus."""
