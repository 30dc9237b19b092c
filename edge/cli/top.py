"""`edgectl top`: the site as a live screen. Needs the optional extra `top` (textual)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.widgets import DataTable, Footer, Static

from edge.cli.client import Client, Document, Refused, Unreachable
from edge.cli.show import COLOURS, age, explain_lines, status_head_lines, value_text, watts

PERIOD_S = 1.0
NUMBERS = ("SOC", "POWER", "TOLD", "CONN", "AGE")
SMALL_LINES = 36
"""A terminal with fewer lines shows less of what all is well with."""
COLUMNS = ("EVSE", "ST", "SOC", "POWER", "TOLD", "CONN", "WHAT BINDS", "AGE")


def evse_cells(evse: Document) -> list[Text]:
    """One row of the table, in the colour of its level."""
    values = evse["values"]
    cells = [
        evse["id"],
        evse["state"] or "?",
        value_text(values.get("soc"), 1, "%"),
        watts(values["power"]["value"]) if "power" in values else "?",
        watts(evse["setpoint"]["target_w"]),
        value_text(values.get("t_connector"), 0, "°"),
        evse["answer"]["binds"],
        age(evse["age_ms"]),
    ]
    style = "" if evse["level"] == "ok" else COLOURS[evse["level"]]
    return [
        Text(cell, style, justify="right" if name in NUMBERS else "left") for name, cell in zip(COLUMNS, cells, strict=True)
    ]


class Top(App[None]):
    """Refreshes every second; the EVSE under the cursor is explained below."""

    TITLE = "edgectl top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #stale { background: red; color: white; text-style: bold; display: none; padding: 0 1; }
    #stale.on { display: block; }
    #evses { height: 1fr; min-height: 6; }
    #explain { height: 1fr; border-top: solid gray; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [("q", "quit", "Quit"), ("p", "pause", "Pause")]

    def __init__(self, client: Client) -> None:
        super().__init__()
        self._client = client
        self._paused = False

    def compose(self) -> ComposeResult:
        yield Static(id="stale")
        yield Static(id="head")
        table: DataTable[Text] = DataTable(id="evses", cursor_type="row", zebra_stripes=True)
        for name in COLUMNS:
            table.add_column(Text(name, justify="right" if name in NUMBERS else "left"), key=name)
        yield table
        with VerticalScroll(id="explain"):
            yield Static(id="why")
        yield Footer()

    def on_mount(self) -> None:
        self.query_one(DataTable).focus()
        self.set_interval(PERIOD_S, self.refresh_site)
        self.call_after_refresh(self.refresh_site)

    def action_pause(self) -> None:
        self._paused = not self._paused

    async def on_data_table_row_highlighted(self) -> None:
        await self._ask(self._explain)

    async def refresh_site(self) -> None:
        if not self._paused:
            await self._ask(self._look)

    async def _ask(self, question: Callable[[], Awaitable[None]]) -> None:
        """When the gateway doesn't answer, what is shown is called stale and stays."""
        stale = self.query_one("#stale", Static)
        try:
            await question()
        except (Unreachable, Refused) as error:
            stale.update(f"STALE: {error}")
            stale.add_class("on")
            return
        stale.remove_class("on")

    async def _look(self) -> None:
        self._show(await asyncio.to_thread(self._client.get, "/v1/status"))
        await self._explain()

    def _show(self, status: Document) -> None:
        self.query_one("#head", Static).update(
            Text.from_ansi("\n".join(status_head_lines(status, self.size.height < SMALL_LINES)))
        )
        table = self.query_one(DataTable)
        known, wanted = [row.value for row in table.rows], [evse["id"] for evse in status["evses"]]
        if known != wanted:
            table.clear()
            for evse in status["evses"]:
                table.add_row(*evse_cells(evse), key=evse["id"])
            return
        for evse in status["evses"]:
            for column, cell in zip(COLUMNS, evse_cells(evse), strict=True):
                table.update_cell(evse["id"], column, cell)

    def _chosen(self) -> str | None:
        table = self.query_one(DataTable)
        return table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value if table.row_count else None

    async def _explain(self) -> None:
        evse = self._chosen()
        if evse is None:
            return
        why = await asyncio.to_thread(self._client.get, f"/v1/evses/{evse}/explain")
        self.query_one("#why", Static).update(Text.from_ansi("\n".join(explain_lines(why))))
