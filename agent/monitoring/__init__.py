"""The numbers by which a monitoring system watches the agent."""
