"""An MCP server of one tool, which speaks over its standard input and output: `python -m …weather_server`."""

from __future__ import annotations

from mcp.server import MCPServer

server = MCPServer("weather")


@server.tool()
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


if __name__ == "__main__":
    server.run("stdio")
