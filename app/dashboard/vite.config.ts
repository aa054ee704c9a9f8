import { defineConfig } from 'vite'

// The output is part of the Python package: names have digests of the contents, and nothing depends on the time.
export default defineConfig({
  build: {
    outDir: process.env.FROTA_OUT_DIR ?? 'dist',
    emptyOutDir: true,
    assetsInlineLimit: 0, // the content security policy allows no data: URLs
    modulePreload: { polyfill: false },
    target: 'es2022',
    reportCompressedSize: false,
  },
  server: { proxy: { '/api': 'http://127.0.0.1:8080', '/events': 'http://127.0.0.1:8080' } },
})
