// What the service sends. All texts are untrusted; Preact renders them as text.

export interface Session {
  login: boolean
  version: string
  user?: string
  role?: 'viewer' | 'operator'
  csrf?: string
  accounts?: boolean
}

export interface Part {
  state: 'not configured' | 'waiting' | 'ok' | 'unavailable'
  reason?: string
}

export interface State {
  parts: Record<string, Part>
  disk: { total: number; free: number; low: boolean } | null
}

export interface Unit {
  system: string
  state: 'up' | 'down' | 'unknown'
  release?: string
  since?: number
  memory?: number
}

export interface PipelineWorker {
  working?: number
  converted?: number
  dead?: number
  storage?: number
}

export interface Fleet {
  hosts: Record<string, Record<string, Unit>>
  alerts: Record<string, string>[]
  pipeline: {
    queue: number | null
    working: number | null
    dead: number | null
    accepted: number | null
    workers: Record<string, PipelineWorker>
  }
}

export type Point = [time: number, value: number, inRange: boolean]

export interface Sensor {
  sensor: string
  kind: string
  unit: string
  points: Point[]
  range: [number, number] | null
}

export interface Image {
  id: string
  trace: string
  name: string
  size: number
  user: string
  state: 'sending' | 'queued' | 'working' | 'done' | 'dead' | 'rejected' | 'unknown'
  at: number
  changed?: number
  worker?: string
  url?: string
  reason?: string
}

export interface Change {
  version: string
  time: string
  op: string
  text: string
}

export interface SharedList {
  list: string
  version: number
  length: number
  elements: string[]
  changes: Change[]
}

export interface CpuHost {
  host: string
  state: string
  mean: number | null
  cores: number
  memory: number | null
  alerts: string[]
}

export interface Cpu {
  hosts: CpuHost[]
  column: number
  seconds?: number
  rows?: Record<string, (number | null)[]>
}

export interface PeerServer {
  address: string
  error?: string
  server?: string
  durable?: boolean
  saturated?: boolean
  queue?: Record<'waiting' | 'leased' | 'dead' | 'wait_ms', number>
  tasks?: Record<'submitted' | 'done', number>
  workers?: Record<'own' | 'own_here' | 'idle' | 'busy' | 'lent' | 'absent' | 'borrowed' | 'promised', number>
  peers?: { server: string; address: string; up: boolean }[]
}

export interface JournalRecord {
  time: number
  priority: number
  host?: string
  unit?: string
  system?: string
  event?: string
  message?: string
  traces?: string[]
  peer?: string
  duration?: number
}

export interface JournalEvent {
  records: JournalRecord[]
  skipped: number
  first?: boolean
}
