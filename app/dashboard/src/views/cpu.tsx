// CPU of every host as a heat map over the last hour, and the values of now as a table.
import { useEffect, useRef, useState } from 'preact/hooks'
import type { JSX } from 'preact'
import { PartBanner, State } from '../parts/banners'
import { byName, clock, percent } from '../parts/format'
import { has, t } from '../parts/i18n'
import { useKnown } from '../parts/store'
import type { Cpu, CpuHost } from '../types'

const ROW = 18
const COLUMNS = 120

export function CpuView(): JSX.Element {
  const { cpu } = useKnown()
  const hosts = [...(cpu?.hosts ?? [])].sort((a, b) => byName(a.host, b.host))
  return (
    <>
      <h1>{t('cpu')}</h1>
      <PartBanner part="cpu" name={t('cpu')} />
      {cpu && !hosts.length && <p class="empty">{t('no_hosts')}</p>}
      {cpu && hosts.length > 0 && (
        <>
          <section class="panel">
            <div class="head">
              <h2>{t('heat_title', { seconds: cpu.seconds ?? 30 })}</h2>
              <Legend />
            </div>
            <HeatMap cpu={cpu} hosts={hosts} />
          </section>
          <Table hosts={hosts} />
        </>
      )}
    </>
  )
}

function Legend(): JSX.Element {
  return (
    <span class="legend muted small">0 %
      <svg viewBox="0 0 100 10" aria-hidden="true" preserveAspectRatio="none">
        {Array.from({ length: 20 }, (_, i) => <rect key={i} x={i * 5} width="5.2" height="10" fill={heat(i * 5)} />)}
      </svg>100 %</span>
  )
}

// From the page's quiet colour to red, so that the hot ones stand out in light and dark.
export function heat(value: number): string {
  const share = Math.min(1, Math.max(0, value / 100))
  const hue = 215 - 205 * share ** 0.8
  const dark = matchMedia('(prefers-color-scheme: dark)').matches
  const lightness = dark ? 22 + 38 * share : 92 - 42 * share
  return `hsl(${hue.toFixed(0)} ${(45 + 45 * share).toFixed(0)}% ${lightness.toFixed(0)}%)`
}

function HeatMap({ cpu, hosts }: { cpu: Cpu; hosts: CpuHost[] }): JSX.Element {
  const canvas = useRef<HTMLCanvasElement>(null)
  const [hint, setHint] = useState('')
  useEffect(() => {
    if (canvas.current) draw(canvas.current, cpu, hosts)
  })
  useEffect(() => {
    const element = canvas.current
    if (!element) return
    const resized = new ResizeObserver(() => setHint((text) => `${text}`))
    resized.observe(element)
    return () => resized.disconnect()
  }, [])
  const point = (event: MouseEvent) => {
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect()
    const host = hosts[Math.floor((event.clientY - box.top) / ROW)]
    const column = Math.floor(((event.clientX - box.left) / box.width) * COLUMNS)
    const value = host && cpu.rows?.[host.host]?.[column]
    const at = (cpu.column - COLUMNS + 1 + column) * (cpu.seconds ?? 30) * 1000
    setHint(host ? `${host.host} · ${clock(at)} · ${percent(value ?? null)}` : '')
  }
  return (
    <>
      <div class="heat">
        <ul class="names" aria-hidden="true">{hosts.map((host) => <li key={host.host}>{host.host}</li>)}</ul>
        <canvas ref={canvas} role="img" aria-label={t('heat_label', { count: hosts.length })} height={hosts.length * ROW}
          onMouseMove={point} onMouseLeave={() => setHint('')} />
      </div>
      <p class="muted small hint">{hint || '\u00a0'}</p>
    </>
  )
}

function draw(canvas: HTMLCanvasElement, cpu: Cpu, hosts: CpuHost[]): void {
  const ratio = devicePixelRatio || 1
  const width = canvas.clientWidth
  canvas.width = Math.round(width * ratio)
  canvas.height = Math.round(hosts.length * ROW * ratio)
  const context = canvas.getContext('2d')
  if (!context) return
  context.scale(ratio, ratio)
  const empty = getComputedStyle(document.documentElement).getPropertyValue('--track').trim()
  hosts.forEach((host, y) => {
    const row = cpu.rows?.[host.host] ?? []
    for (let x = 0; x < COLUMNS; x++) {
      const value = row[x]
      context.fillStyle = value == null ? empty : heat(value)
      const left = Math.floor((x * width) / COLUMNS)
      context.fillRect(left, y * ROW, Math.floor(((x + 1) * width) / COLUMNS) - left, ROW - 2)
    }
  })
}

function Table({ hosts }: { hosts: CpuHost[] }): JSX.Element {
  return (
    <section class="panel">
      <div class="scroll" tabIndex={0} role="region" aria-label={t('hosts')}>
        <table>
          <thead>
            <tr>
              <th scope="col">{t('host')}</th><th scope="col">{t('state')}</th><th scope="col" class="right">{t('mean')}</th>
              <th scope="col" class="right">{t('cores')}</th><th scope="col" class="right">{t('memory')}</th>
            </tr>
          </thead>
          <tbody>{hosts.map((host) => <Row key={host.host} host={host} />)}</tbody>
        </table>
      </div>
    </section>
  )
}

function Row({ host }: { host: CpuHost }): JSX.Element {
  const kind = host.state === 'connected' ? (host.alerts.length ? 'warn' : 'ok') : 'bad'
  const word = has(host.state) ? t(host.state) : t('unknown')
  return (
    <tr>
      <th scope="row"><a href={`#/journal?host=${encodeURIComponent(host.host)}`}>{host.host}</a></th>
      <td><State kind={kind}>{word}</State>{' '}
        {host.alerts.length > 0 && <span class="warn">{t('above', { what: host.alerts.join(', ') })}</span>}</td>
      <td class="right mono">{percent(host.mean)}</td>
      <td class="right mono">{host.cores || '–'}</td>
      <td class="right mono">{percent(host.memory)}</td>
    </tr>
  )
}
