// Numbers and times for people, in their language.
import { language, t } from './i18n'

export function number(value: number, digits = 0): string {
  return value.toLocaleString(language(), { minimumFractionDigits: digits, maximumFractionDigits: digits })
}

export function bytes(value: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let index = 0
  while (value >= 1024 && index < units.length - 1) {
    value /= 1024
    index++
  }
  return `${number(value, index && value < 10 ? 1 : 0)} ${units[index]}`
}

export function percent(value: number | null | undefined): string {
  return value == null ? '–' : `${number(value)} %`
}

// A span in seconds as its two largest units.
export function span(seconds: number): string {
  const s = Math.max(0, Math.round(seconds))
  if (s < 60) return `${s} s`
  if (s < 3600) return `${Math.floor(s / 60)} min`
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`
}

export function ago(seconds: number): string {
  return seconds < 1.5 ? t('now') : t('ago', { span: span(seconds) })
}

export function clock(ms: number, millis = false): string {
  const date = new Date(ms)
  const text = date.toLocaleTimeString(language(), { hour12: false })
  return millis ? `${text}.${String(date.getMilliseconds()).padStart(3, '0')}` : text
}

export function milliseconds(ms: number): string {
  if (ms < 1) return '<1 ms'
  if (ms < 1000) return `${number(ms)} ms`
  return ms < 60_000 ? `${number(ms / 1000, 2)} s` : span(ms / 1000)
}

export function byName(a: string, b: string): number {
  return a.localeCompare(b, language(), { numeric: true })
}
