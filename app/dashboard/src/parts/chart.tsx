// A line over time with uPlot, in the page's colours.
import { useEffect, useRef } from 'preact/hooks'
import type { JSX } from 'preact'
import uPlot from 'uplot'
import { clock } from './format'

export interface Line {
  points: [time: number, value: number][]
  label: string
  format: (value: number) => string
  low?: number
  high?: number
}

const HEIGHT = 120

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim()
}

export function Chart({ line }: { line: Line }): JSX.Element {
  const box = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | null>(null)
  const latest = useRef(line)
  latest.current = line
  useEffect(() => {
    const element = box.current
    if (!element) return
    const draw = () => {
      plot.current?.destroy()
      plot.current = new uPlot(options(element, latest), columns(latest.current), element)
    }
    draw()
    const resized = new ResizeObserver(() => {
      if (plot.current && element.clientWidth !== plot.current.width) {
        plot.current.setSize({ width: element.clientWidth, height: HEIGHT })
      }
    })
    resized.observe(element)
    const scheme = matchMedia('(prefers-color-scheme: dark)')
    scheme.addEventListener('change', draw)
    return () => {
      scheme.removeEventListener('change', draw)
      resized.disconnect()
      plot.current?.destroy()
      plot.current = null
    }
  }, [])
  useEffect(() => plot.current?.setData(columns(line)), [line.points.length, line.points.at(-1)?.[0]])
  return <div class="chart" ref={box} role="img" aria-label={line.label} />
}

function columns(line: Line): uPlot.AlignedData {
  return [line.points.map(([time]) => time), line.points.map(([, value]) => value)]
}

function options(element: HTMLElement, line: { current: Line }): uPlot.Options {
  const axis = { stroke: colour('--muted'), grid: { stroke: colour('--line'), width: 1 }, ticks: { show: false }, font: '11px system-ui, sans-serif' }
  return {
    width: Math.max(element.clientWidth, 100),
    height: HEIGHT,
    legend: { show: false },
    cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
    scales: { x: { time: true }, y: { range: (_, low, high) => padded(low, high) } },
    axes: [
      { ...axis, size: 22, space: 70, values: (_, times) => times.map((time) => clock(time * 1000)) },
      { ...axis, size: 44, space: 28, values: (_, values) => values.map((value) => line.current.format(value)) },
    ],
    series: [{}, { stroke: colour('--accent'), width: 1.5, fill: colour('--accent-soft'), points: { show: false } }],
    hooks: { drawClear: [(plot) => drawRange(plot, line.current)] },
  }
}

function padded(low: number | null, high: number | null): [number, number] {
  if (low === null || high === null) return [0, 1]
  const margin = Math.max((high - low) * 0.15, Math.abs(high) * 0.02, 0.5)
  return [low - margin, high + margin]
}

// What is outside the range is shaded.
function drawRange(plot: uPlot, line: Line): void {
  const { ctx, bbox } = plot
  ctx.save()
  ctx.fillStyle = colour('--bad-soft')
  const shade = (from: number, to: number) => {
    const top = Math.max(bbox.top, Math.min(from, to))
    const bottom = Math.min(bbox.top + bbox.height, Math.max(from, to))
    if (bottom > top) ctx.fillRect(bbox.left, top, bbox.width, bottom - top)
  }
  if (line.high !== undefined) shade(bbox.top, plot.valToPos(line.high, 'y', true))
  if (line.low !== undefined) shade(plot.valToPos(line.low, 'y', true), bbox.top + bbox.height)
  ctx.restore()
}
