//! Samples as text, in OpenMetrics or in Prometheus's older format.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;

use super::describe::{Description, Kind, Metric};
use super::samples::{Samples, Times, Value};
use crate::args::Exposition;

/// What tells a reader the format.
pub(super) fn content_type(format: Exposition) -> &'static str {
    match format {
        Exposition::Openmetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        Exposition::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
    }
}

/// All of it.
pub(super) fn expose(samples: Samples, format: Exposition) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Node(samples)));
    let mut exposition = String::new();
    match format {
        Exposition::Openmetrics => text::encode(&mut exposition, &registry)?,
        Exposition::Prometheus => prometheus_text::encode(&mut exposition, &registry)?,
    }
    Ok(exposition)
}

#[derive(Debug)]
struct Node(Samples);

impl Collector for Node {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for metric in Metric::ALL {
            let Description { name, kind, labels, help } = metric.description();
            let kind = match kind {
                Kind::Gauge => MetricType::Gauge,
                Kind::Counter => MetricType::Counter,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut values = self.0.of(metric).peekable();
            // A family without a sample says nothing, and not every parser takes it.
            if values.peek().is_none() {
                continue;
            }
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (of, value) in values {
                let set: Vec<(&str, &str)> =
                    labels.iter().copied().zip(of.iter().map(String::as_str)).collect();
                encode(family.encode_family(&set)?, kind, value)?;
            }
        }
        Ok(())
    }
}

fn encode(mut encoder: MetricEncoder, kind: MetricType, value: &Value) -> fmt::Result {
    match value {
        Value::Number(number) if matches!(kind, MetricType::Gauge) => {
            encoder.encode_gauge(&i64::try_from(*number).unwrap_or(i64::MAX))
        }
        Value::Number(number) => encoder.encode_counter(number, None::<&Exemplar<NoLabelSet, f64>>),
        Value::Times(times) => encoder.encode_histogram::<NoLabelSet>(
            seconds(times.sum_us),
            times.count(),
            &buckets(times),
            None,
        ),
    }
}

fn buckets(times: &Times) -> Vec<(f64, u64)> {
    let bounded = times.buckets.iter().map(|(ms, count)| (f64::from(*ms) / 1000.0, *count));
    bounded.chain([(f64::INFINITY, times.longer)]).collect()
}

/// As precise as a float is: to the microsecond for some centuries.
fn seconds(us: u64) -> f64 {
    std::time::Duration::from_micros(us).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Samples {
        let mut samples = Samples::default();
        samples.add(Metric::Sandboxes, &["k8s.io", "running"], 3);
        samples.add(Metric::Requests, &["k8s.io", "State", "ok"], 12);
        samples.add(Metric::Wedges, &["a \"quoted\"\\\nname", "reaped"], 1);
        samples.add_times(
            Metric::Answered,
            &["k8s.io", "State"],
            Times::told(&[5, 1000], &[2, 1, 4], 1_500_000),
        );
        samples
    }

    #[test]
    fn openmetrics_as_its_own_parser_reads_it() {
        let text = expose(samples(), Exposition::Openmetrics).unwrap();
        let read = openmetrics_parser::openmetrics::parse_openmetrics(&text)
            .unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(read.families.len(), 4);
        assert!(text.ends_with("# EOF\n"), "{text}");
        for line in [
            "runsc_guard_sandboxes{namespace=\"k8s.io\",state=\"running\"} 3",
            "runsc_guard_requests_total{namespace=\"k8s.io\",method=\"State\",outcome=\"ok\"} 12",
            "runsc_guard_request_duration_seconds_sum{namespace=\"k8s.io\",method=\"State\"} 1.5",
            "runsc_guard_request_duration_seconds_count{namespace=\"k8s.io\",method=\"State\"} 7",
            "runsc_guard_request_duration_seconds_bucket{le=\"1.0\",namespace=\"k8s.io\",method=\"State\"} 3",
            "runsc_guard_request_duration_seconds_bucket{le=\"+Inf\",namespace=\"k8s.io\",method=\"State\"} 7",
            "runsc_guard_wedges_total{namespace=\"a \\\"quoted\\\"\\\\\\nname\",cause=\"reaped\"} 1",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn the_older_format_names_counters_with_their_suffix() {
        let text = expose(samples(), Exposition::Prometheus).unwrap();
        assert!(text.contains("# TYPE runsc_guard_requests_total counter\n"), "{text}");
        assert!(!text.contains("# EOF"), "{text}");
        assert!(openmetrics_parser::prometheus::parse_prometheus(&text).is_ok(), "{text}");
    }
}
