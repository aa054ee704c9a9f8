"""The list of hosts on the whole screen, until someone has seen enough."""

import argparse

from frota.cpu_metrics.viewer import terminal
from frota.cpu_metrics.viewer.gauges import Glyphs
from frota.cpu_metrics.viewer.keys import Decoder
from frota.cpu_metrics.viewer.polling import Answer, Poller
from frota.cpu_metrics.viewer.query import Client
from frota.cpu_metrics.viewer.rows import Screen
from frota.cpu_metrics.viewer.screen import News, frame
from frota.cpu_metrics.viewer.terminal import Terminal
from frota.cpu_metrics.viewer.view import View


def watch(args: argparse.Namespace, view: View, glyphs: Glyphs) -> int:
    """Show the hosts until `q` is typed. Raises ServerUnavailable and WrongServer at the start only."""
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
                screen.show(frame(view, news, Screen(*terminal.size(), glyphs)))
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
