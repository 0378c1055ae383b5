"""A fleet on a real Redis and a real RabbitMQ whose parts are killed everywhere, and what it must keep to."""
