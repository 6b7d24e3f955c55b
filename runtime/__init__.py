"""What every process of Lamplighter shares: its clock, how a component starts and says it is ready,
files that survive a kill, HTTP and WebSocket shells. Nothing here knows devices or platforms."""
