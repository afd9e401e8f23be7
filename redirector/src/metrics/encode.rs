//! A snapshot in the text format of OpenMetrics.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use prometheus_client::{
    collector::Collector,
    encoding::{
        DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric as _, MetricEncoder,
        NoLabelSet, text,
    },
    metrics::exemplar::Exemplar,
    registry::Registry,
};
use redirector_common::entries::EventLosses;

use super::{
    families::{self, Family},
    record::{ATTACHED, InterfaceState, Metrics, ORIGINS, Repaired, unix_seconds},
    snapshot::{Kernel, Snapshot},
};
use crate::routes::Origin;

/// What the text is, as HTTP names it.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The whole text.
///
/// # Errors
///
/// None: a string takes everything.
pub fn encode(snapshot: Snapshot) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot));
    let mut written = String::new();
    text::encode(&mut written, &registry)?;
    Ok(written)
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut page = Page(encoder);
        if let Some(kernel) = &self.kernel {
            page.kernel(kernel)?;
        }
        page.recorded(&self.recorded)?;
        page.info(&families::BUILD, [("version", env!("CARGO_PKG_VERSION"))])?;
        page.counter(&families::PROCESS_CPU, [([], self.process.cpu)])?;
        page.gauge(&families::PROCESS_RESIDENT, [([], self.process.resident)])?;
        page.gauge(&families::PROCESS_START, [([], unix_seconds(self.recorded.started))])?;
        page.gauge(&families::PROCESS_FDS, [([], self.process.fds)])
    }
}

struct Page<'a>(DescriptorEncoder<'a>);

/// A label's values, in the order of the family's labels.
type Values<'v, const N: usize> = [&'v str; N];

impl Page<'_> {
    fn kernel(&mut self, kernel: &Kernel) -> fmt::Result {
        let packets = || {
            let packets = kernel.packets.iter();
            packets.map(|(verdict, reason, count)| ([verdict.word(), reason.word()], count))
        };
        self.counter(&families::PACKETS, packets().map(|(labels, count)| (labels, count.packets)))?;
        self.counter(&families::BYTES, packets().map(|(labels, count)| (labels, count.bytes)))?;

        let routes = &kernel.routes;
        let connections = routes.connections.iter();
        self.counter(
            &families::CONNECTIONS,
            connections.map(|((route, verdict), count)| ([&**route, verdict.word()], *count)),
        )?;
        self.counter(&families::STEERED_LOST, routes.lost.iter().map(|(route, lost)| ([&**route], *lost)))?;
        let available = routes.available.iter().map(|(route, is)| ([&**route], u32::from(*is)));
        self.gauge(&families::ROUTE_TARGET_AVAILABLE, available)?;
        let proxies = kernel.proxies.iter();
        let proxies: Vec<_> =
            proxies.map(|(proxy, takes)| (proxy.protocol.word(), proxy.at.to_string(), takes)).collect();
        let proxies =
            proxies.iter().map(|(protocol, address, takes)| ([&**address, *protocol], u32::from(**takes)));
        self.gauge(&families::PROXY_LISTENING, proxies)?;
        self.gauge(&families::ROUTES_LEFT_OUT, [([], routes.left_out)])?;

        let fill = || kernel.fill.iter();
        self.gauge(&families::MAP_ENTRIES, fill().map(|(map, fill)| ([*map], fill.entries)))?;
        self.gauge(&families::MAP_CAPACITY, fill().map(|(map, fill)| ([*map], fill.capacity)))?;
        let EventLosses { rate, full } = kernel.events_lost;
        self.counter(&families::FLOW_EVENTS_LOST, [(["rate"], rate), (["full"], full)])
    }

    fn recorded(&mut self, metrics: &Metrics) -> fmt::Result {
        let numbers = |numbers: &[AtomicU64]| -> Vec<u64> {
            numbers.iter().map(|number| number.load(Relaxed)).collect()
        };
        let origins = ORIGINS.iter().map(|origin| [origin.word()]);
        self.gauge(&families::ROUTES, origins.zip(numbers(&metrics.routes)))?;
        let states = InterfaceState::ALL.iter().map(|state| [state.word()]);
        self.gauge(&families::INTERFACES, states.zip(numbers(&metrics.interfaces)))?;
        let hooks = ATTACHED.iter().map(|hook| [*hook]);
        self.gauge(&families::PROGRAMS_ATTACHED, hooks.zip(numbers(&metrics.attached)))?;
        let repaired = Repaired::ALL.iter().map(|what| [what.word()]);
        self.counter(&families::REPAIRS, repaired.zip(numbers(&metrics.repairs)))?;

        metrics.reconcile.encode(self.family(&families::RECONCILE_DURATION)?)?;
        let mut family = self.family(&families::PROPAGATION_DELAY)?;
        for (origin, histogram) in ORIGINS.iter().zip(&metrics.propagation) {
            // What these say does not change while an agent runs.
            if matches!(origin, Origin::CommandLine | Origin::BuiltIn) {
                continue;
            }
            let label = labels(&families::PROPAGATION_DELAY, [origin.word()]);
            histogram.encode(family.encode_family(&label)?)?;
        }

        let successful = u32::from(metrics.reload_successful.load(Relaxed));
        self.gauge(&families::RELOAD_SUCCESSFUL, [([], successful)])?;
        self.gauge(&families::RELOAD_TIMESTAMP, [([], metrics.reloaded.load(Relaxed))])
    }

    fn counter<'v, const N: usize>(
        &mut self,
        family: &'static Family,
        samples: impl IntoIterator<Item = (Values<'v, N>, impl EncodeCounterValue)>,
    ) -> fmt::Result {
        let no_exemplar = None::<&Exemplar<NoLabelSet, f64>>;
        self.samples(family, samples, |encoder, value| encoder.encode_counter(&value, no_exemplar))
    }

    fn gauge<'v, const N: usize>(
        &mut self,
        family: &'static Family,
        samples: impl IntoIterator<Item = (Values<'v, N>, impl EncodeGaugeValue)>,
    ) -> fmt::Result {
        self.samples(family, samples, |encoder, value| encoder.encode_gauge(&value))
    }

    fn info<const N: usize>(
        &mut self,
        family: &'static Family,
        labels: [(&'static str, &'static str); N],
    ) -> fmt::Result {
        self.family(family)?.encode_info(&labels)
    }

    fn samples<'v, const N: usize, T>(
        &mut self,
        family: &'static Family,
        samples: impl IntoIterator<Item = (Values<'v, N>, T)>,
        encode: impl Fn(&mut MetricEncoder<'_>, T) -> fmt::Result,
    ) -> fmt::Result {
        let mut encoder = self.family(family)?;
        for (values, value) in samples {
            if N == 0 {
                // Or there would be braces with nothing in them.
                encode(&mut encoder, value)?;
            } else {
                encode(&mut encoder.encode_family(&labels(family, values))?, value)?;
            }
        }
        Ok(())
    }

    fn family(&mut self, family: &'static Family) -> Result<MetricEncoder<'_>, fmt::Error> {
        self.0.encode_descriptor(family.name, family.help, family.unit.as_ref(), family.kind)
    }
}

/// A family's labels with their values.
fn labels<'v, const N: usize>(
    family: &'static Family,
    values: Values<'v, N>,
) -> [(&'static str, &'v str); N] {
    debug_assert_eq!(family.labels.len(), N, "the labels of {}", family.name);
    std::array::from_fn(|place| (family.labels[place], values[place]))
}
