// What the page knows, and who is told when it changes.
import { useEffect, useState } from 'preact/hooks'
import type {
  Cpu, Fleet, Image, JournalEvent, JournalRecord, PeerServer, Sensor, Session, SharedList, State,
} from '../types'
import type { Problem } from './api'

export const KEPT_RECORDS = 500
const KEPT_POINTS = 600

export interface Known {
  session: Session | null
  problem: Problem | null
  state: State | null
  fleet: Fleet | null
  sensors: Map<string, Sensor> | null
  images: Map<string, Image>
  list: SharedList | null
  cpu: Cpu | null
  peers: PeerServer[] | null
  records: JournalRecord[]
  skipped: number
  queue: [time: number, depth: number][]
}

export const known: Known = {
  session: null, problem: null, state: null, fleet: null, sensors: null, images: new Map(), list: null, cpu: null,
  peers: null, records: [], skipped: 0, queue: [],
}

const listeners = new Set<() => void>()
let scheduled = false

// Many events of one moment cause one rendering.
export function changed(): void {
  if (scheduled) return
  scheduled = true
  requestAnimationFrame(() => {
    scheduled = false
    for (const listener of [...listeners]) listener()
  })
}

export function useKnown(): Known {
  const [, render] = useState(0)
  useEffect(() => {
    const listener = () => render((count) => count + 1)
    listeners.add(listener)
    return () => void listeners.delete(listener)
  }, [])
  return known
}

export function receive(topic: string, content: unknown): void {
  APPLY[topic]?.(content)
  changed()
}

const APPLY: Record<string, (content: any) => void> = {
  state: (content: State) => (known.state = content),
  fleet: (content: Fleet) => {
    known.fleet = content
    if (content.pipeline.queue === null) return
    known.queue.push([Date.now() / 1000, content.pipeline.queue])
    if (known.queue.length > KEPT_POINTS) known.queue.shift()
  },
  sensors: applySensors,
  images: (content: Image[]) => {
    for (const image of content) known.images.set(image.id, image)
  },
  list: (content: SharedList) => (known.list = content),
  cpu: applyCpu,
  peers: (content: PeerServer[]) => (known.peers = content),
  journal: (content: JournalEvent) => {
    if (content.first) known.records = []
    // A host's records may arrive later than newer ones of another host.
    known.records = [...known.records, ...content.records].sort((a, b) => a.time - b.time).slice(-KEPT_RECORDS)
    known.skipped = content.first ? 0 : known.skipped + content.skipped
  },
}

function applySensors(content: Sensor[]): void {
  const sensors = (known.sensors ??= new Map())
  for (const fresh of content) {
    const key = `${fresh.sensor}\u0000${fresh.kind}\u0000${fresh.unit}`
    const old = sensors.get(key)
    const last = old?.points.at(-1)?.[0] ?? 0
    const points = [...(old?.points ?? []), ...fresh.points.filter(([time]) => time > last)]
    sensors.set(key, { ...fresh, points: points.slice(-KEPT_POINTS) })
  }
}

function applyCpu(content: Cpu): void {
  if (content.rows || !known.cpu?.rows) {
    known.cpu = content
    return
  }
  const { rows, column, seconds } = known.cpu
  const moved = Math.max(0, content.column - column)
  for (const { host, mean } of content.hosts) {
    const row = rows[host] ?? []
    for (let i = 0; i < Math.min(moved, 120); i++) row.push(null)
    if (row.length) row[row.length - 1] = mean
    rows[host] = row.slice(-120)
  }
  known.cpu = { ...content, rows, seconds }
}
