"""Information reporting: notification attributes, observations, Send (LwM2M Core §5.1.2, §6.4)."""
