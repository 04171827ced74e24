"""What more pairs a day need, reckoned from kept figures and stated assumptions."""
