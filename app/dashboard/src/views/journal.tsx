// The journals of all hosts, filtered by the server, newest first.
import { useEffect, useState } from 'preact/hooks'
import type { JSX } from 'preact'
import { PartBanner } from '../parts/banners'
import { byName, clock, milliseconds } from '../parts/format'
import { t, type Key } from '../parts/i18n'
import { useKnown } from '../parts/store'
import type { JournalRecord } from '../types'
import type { Place } from '../app'

const TYPING_MS = 300

export function kindOf(priority: number): string {
  return priority <= 3 ? 'bad' : priority === 4 ? 'warn' : priority === 7 ? 'idle' : 'ok'
}

export function JournalView({ place }: { place: Place }): JSX.Element {
  const { records, skipped } = useKnown()
  const [frozen, setFrozen] = useState<JournalRecord[] | null>(null)
  const shown = [...(frozen ?? records)].reverse()
  return (
    <>
      <h1>{t('journal')}</h1>
      <PartBanner part="journals" name={t('journal')} />
      <Filters place={place} records={records}>
        <button type="button" aria-pressed={!!frozen} onClick={() => setFrozen(frozen ? null : records)}>
          {t(frozen ? 'resume' : 'pause')}
        </button>
      </Filters>
      {skipped > 0 && <p class="banner">{t('skipped', { count: skipped })}</p>}
      {!shown.length && <p class="empty">{t('no_records')}</p>}
      <ol class="records panel" aria-label={t('records')} aria-live="off">
        {shown.map((record, index) => <Line key={`${record.time} ${record.host} ${shown.length - index}`} record={record} />)}
      </ol>
    </>
  )
}

function Filters({ place, records, children }: { place: Place; records: JournalRecord[]; children: JSX.Element }): JSX.Element {
  const { fleet } = useKnown()
  const chosen = (name: string) => place.query.get(name) ?? ''
  const [text, setText] = useState(chosen('text'))
  const set = (name: string, value: string) => {
    const query = new URLSearchParams(place.query)
    if (value) query.set(name, value)
    else query.delete(name)
    location.hash = `#/journal?${query}`
  }
  useEffect(() => {
    if (text === chosen('text')) return
    const timer = setTimeout(() => set('text', text), TYPING_MS)
    return () => clearTimeout(timer)
  }, [text])
  const hosts = names([...Object.keys(fleet?.hosts ?? {}), ...records.map((one) => one.host), chosen('host')])
  const units = names([
    ...Object.values(fleet?.hosts ?? {}).flatMap((one) => Object.keys(one)), ...records.map((one) => one.unit), chosen('unit'),
  ])
  return (
    <div class="row filters">
      <Choice label={t('host')} value={chosen('host')} options={hosts} set={(value) => set('host', value)} />
      <Choice label={t('unit')} value={chosen('unit')} options={units} set={(value) => set('unit', value)} />
      <label>{t('severity')}
        <select value={chosen('priority') || '7'} onChange={(event) => set('priority', event.currentTarget.value)}>
          {['7', '6', '5', '4', '3'].map((one) => (
            <option key={one} value={one}>
              {one === '7' ? t('all') : t('and_worse', { name: t(`priority_${one}` as Key) })}
            </option>
          ))}
        </select>
      </label>
      <label class="grow">{t('text')}
        <input type="search" value={text} placeholder={t('search_text')} maxLength={200}
          onInput={(event) => setText(event.currentTarget.value)} />
      </label>
      {children}
    </div>
  )
}

function names(found: (string | undefined)[]): string[] {
  return [...new Set(found.filter((name) => !!name))].sort((a, b) => byName(a!, b!)) as string[]
}

interface ChoiceProps {
  label: string
  value: string
  options: string[]
  set: (value: string) => void
}

function Choice({ label, value, options, set }: ChoiceProps): JSX.Element {
  return (
    <label>{label}
      <select value={value} onChange={(event) => set(event.currentTarget.value)}>
        <option value="">{t('all')}</option>
        {options.map((one) => <option key={one} value={one}>{one}</option>)}
      </select>
    </label>
  )
}

function Line({ record }: { record: JournalRecord }): JSX.Element {
  const kind = kindOf(record.priority)
  return (
    <li class={`record ${kind}`} data-time={record.time}>
      <span class="mono muted time">{clock(record.time, true)}</span>
      <span class={`word ${kind}`}>{t(`priority_${record.priority}` as Key)}</span>
      <span class="where"><b>{record.host}</b> {record.unit}</span>
      <span class="message">
        {record.message}
        {record.event && <code>{record.event}</code>}
        {record.duration !== undefined && <span class="muted"> {t('duration', { ms: milliseconds(record.duration) })}</span>}
        {record.traces?.slice(0, 3).map((trace) => (
          <a key={trace} class="mono" href={`#/trace/${trace}`} title={trace}>{t('trace')} {trace.slice(0, 8)}</a>
        ))}
      </span>
    </li>
  )
}
