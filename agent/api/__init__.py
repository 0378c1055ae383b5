"""The HTTP API: an explicit route table, thin handlers, and the OpenAPI document made from the same table."""
