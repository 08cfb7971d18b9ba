/** Counts for Prometheus, behind METRICS_TOKEN. */
import prometheus from "prom-client";

export interface Metrics {
  observe(method: string, route: string, status: number, seconds: number): void;
  /** The exposition text and its content type. */
  render(): Promise<{ type: string; text: string }>;
}

export function createMetrics(): Metrics {
  const { collectDefaultMetrics, Counter, Histogram, Registry } = prometheus;
  const register = new Registry();
  collectDefaultMetrics({ register });
  const requests = new Counter({
    name: "http_requests_total",
    help: "Answered requests",
    labelNames: ["method", "route", "status"],
    registers: [register],
  });
  const durations = new Histogram({
    name: "http_request_duration_seconds",
    help: "Time until a request was answered",
    labelNames: ["route"],
    buckets: [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10],
    registers: [register],
  });
  return {
    observe: (method, route, status, seconds) => {
      requests.inc({ method, route, status });
      durations.observe({ route }, seconds);
    },
    render: async () => ({ type: register.contentType, text: await register.metrics() }),
  };
}
