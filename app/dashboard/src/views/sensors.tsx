// Each sensor: its value now, where in its range it is, and its chart.
import { useEffect, useState } from 'preact/hooks'
import type { JSX } from 'preact'
import { PartBanner, State } from '../parts/banners'
import { Chart } from '../parts/chart'
import { ago, byName, number, span } from '../parts/format'
import { t } from '../parts/i18n'
import { useKnown } from '../parts/store'
import type { Sensor } from '../types'

const SILENT_S = 60

export function useSeconds(): number {
  const [now, setNow] = useState(Date.now() / 1000)
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now() / 1000), 1000)
    return () => clearInterval(timer)
  }, [])
  return now
}

export function SensorsView(): JSX.Element {
  const { sensors } = useKnown()
  const now = useSeconds()
  const shown = [...(sensors?.values() ?? [])].filter((one) => one.points.length)
  shown.sort((a, b) => byName(a.kind, b.kind) || byName(a.sensor, b.sensor))
  return (
    <>
      <h1>{t('sensors')}</h1>
      <PartBanner part="sensors" name={t('sensors')} />
      {sensors && !shown.length && <p class="empty">{t('no_readings')}</p>}
      <div class="cards">
        {shown.map((one) => <Card key={`${one.sensor}\n${one.kind}\n${one.unit}`} sensor={one} now={now} />)}
      </div>
    </>
  )
}

function Card({ sensor, now }: { sensor: Sensor; now: number }): JSX.Element {
  const last = sensor.points.at(-1)
  if (!last) return <></>
  const [time, value, inRange] = last
  const silent = now - time > SILENT_S
  const kind = silent ? 'warn' : inRange ? 'ok' : 'bad'
  const word = silent ? t('silent', { span: span(now - time) }) : t(inRange ? 'in_range' : 'out_of_range')
  const name = `${sensor.sensor} ${sensor.kind}`
  const text = `${number(value, 2)} ${sensor.unit}`
  const first = sensor.points[0]?.[0] ?? time
  return (
    <section class="panel sensor" aria-label={name}>
      <div class="head">
        <h2>{sensor.sensor} <small class="muted">{sensor.kind}</small></h2>
        <State kind={kind}>{word}</State>
      </div>
      <p class="value">{number(value, 2)}<small> {sensor.unit}</small></p>
      {sensor.range && <Gauge range={sensor.range} value={value} unit={sensor.unit} bad={!inRange} />}
      <Chart line={{
        points: sensor.points.map(([at, one]) => [at, one]),
        label: t('chart_of', { name, value: text }),
        format: (one) => number(one, 1),
        low: sensor.range?.[0],
        high: sensor.range?.[1],
      }} />
      <p class="muted small">{ago(now - time)} · {t('last_minutes', { span: span(time - first) })}</p>
    </section>
  )
}

interface GaugeProps {
  range: [number, number]
  value: number
  unit: string
  bad: boolean
}

function Gauge({ range, value, unit, bad }: GaugeProps): JSX.Element {
  const [low, high] = range
  const share = Math.max(0, Math.min(100, (100 * (value - low)) / (high - low || 1)))
  return (
    <div class="gauge">
      <svg viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">
        <rect y="2" width="100" height="2" class="track" />
        <rect x={Math.min(98, share)} width="2" height="6" class={bad ? 'mark hot' : 'mark'} />
      </svg>
      <span class="muted small">{t('range', { low: number(low), high: number(high), unit })}</span>
    </div>
  )
}
