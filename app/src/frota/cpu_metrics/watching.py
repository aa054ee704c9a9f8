"""The list of hosts on the whole screen, until someone has seen enough."""

import argparse

from frota.cpu_metrics import drawing, terminal
from frota.cpu_metrics.asking import Client
from frota.cpu_metrics.drawing import News
from frota.cpu_metrics.gauges import Glyphs
from frota.cpu_metrics.keys import Decoder
from frota.cpu_metrics.polling import Answer, Poller
from frota.cpu_metrics.rows import Screen
from frota.cpu_metrics.terminal import Terminal
from frota.cpu_metrics.viewing import View


def watch(args: argparse.Namespace, view: View, glyphs: Glyphs) -> int:
    """Show the hosts until `q` is typed. Raises Unreachable and NoServer where there is no server from the start."""
    poller = Poller(Client(args.host, args.port), args.interval)
    seen: Answer | None = None
    decoder = Decoder()
    with Terminal() as screen:
        poller.start()
        changed = True
        while not view.over:
            if poller.answer is not seen:
                seen = poller.answer
                view.take(seen.hosts)
            trouble = poller.trouble()
            if changed or trouble:
                news = News(args.host, args.port, poller.answer.clock, trouble)
                screen.show(drawing.frame(view, news, Screen(*terminal.size(), glyphs)))
            changed, typed = screen.wait(poller.bell, 1.0, escape=decoder.waits)
            if typed is None:  # the terminal is gone
                break
            if not changed and decoder.waits:
                changed, keys = True, decoder.flush()
            else:
                keys = decoder.feed(typed)
            for key in keys:
                view.press(key)
    return 0
