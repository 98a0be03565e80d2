//! The calls about the machine and the daemon itself.
//! It refuses to look into jobs beyond what a glance needs.

use super::jobs::{PAGE_BYTES, read};
use super::{Client, Shared, view};
use crate::config::Durability;
use crate::store::fold;
use crate::store::{Reader, Row};
use crate::{clock, monitor, reload, replace, shares};
use qrm_core::{Core, Live};
use qrm_protocol::amount::Bytes;
use qrm_protocol::error::{Code, Error};
use qrm_protocol::ids::JobRef;
use qrm_protocol::job::JobView;
use qrm_protocol::method::{
    ConfigReply, DaemonStatusReply, DoctorReply, Empty, Finding, Health, MachineView, OpenRpc, ReloadParams,
    ReloadReply, StatusReply,
};
use qrm_protocol::place;
use serde_json::value::RawValue;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

/// How many jobs of each kind a glance shows.
const RUNNING: usize = 6;
const WAITING: usize = 4;
const ENDED: u32 = 4;

pub(super) async fn status(client: &Client, shared: &Arc<Shared>) -> Result<StatusReply, Error> {
    let eyes = view::Eyes::of(client, shared);
    // One look for all: each is a turn of the engine.
    let glance = |core: &Core, now| {
        let look = |jobs: Vec<JobRef>| -> Vec<(JobRef, Option<Live>)> {
            jobs.into_iter().map(|job| (job, core.look(now, job))).collect()
        };
        (core.machine(), core.disk(), core.counts(), look(core.running(RUNNING)), look(core.line(WAITING)))
    };
    let ((cpus, cpus_used, mem_bytes, mem_used_bytes), (disk_bytes, disk_used_bytes), jobs, running, waiting) =
        shared.engine.look(glance).await?;
    let all = move |reader: &Reader| {
        let rows = |jobs: Vec<(JobRef, Option<Live>)>| {
            let row = |(id, live)| Some(reader.row(id).transpose()?.map(|row| (row, live)));
            jobs.into_iter().filter_map(row).collect::<Result<Vec<(Row, Option<Live>)>, _>>()
        };
        Ok((rows(running)?, rows(waiting)?, reader.last_ended(ENDED)?))
    };
    let (running, waiting, ended) = read(shared, move |reader| reader.at_once(all)).await?;
    let cpus_used = u32::try_from(cpus_used).unwrap_or(u32::MAX);
    // What ended since the look is among the others.
    let still = |jobs: Vec<(Row, Option<Live>)>| {
        let jobs = jobs.into_iter().filter(|(row, _)| !row.state.is_terminal());
        jobs.map(|(row, live)| view::job(row, live, shared, eyes)).collect::<Vec<JobView>>()
    };
    let (mut running, mut waiting) = (still(running), still(waiting));
    // What waits uses nothing.
    super::stats::measured(&mut running, shared).await?;
    let mut ended: Vec<JobView> = ended.into_iter().map(|row| view::job(row, None, shared, eyes)).collect();
    let mut room = PAGE_BYTES;
    for jobs in [&mut running, &mut waiting, &mut ended] {
        jobs.truncate(view::fit(jobs, &mut room));
    }
    Ok(StatusReply {
        machine: MachineView { cpus, cpus_used, mem_bytes, mem_used_bytes, disk_bytes, disk_used_bytes },
        jobs,
        running,
        waiting,
        ended,
        degraded: shared.engine.condition().borrow().degraded.clone(),
    })
}

pub(super) async fn daemon_status(shared: &Arc<Shared>) -> Result<DaemonStatusReply, Error> {
    let jobs = shared.engine.look(|core, _| core.counts()).await?;
    let condition = shared.engine.condition().borrow().clone();
    Ok(DaemonStatusReply {
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        mode: shared.mode.word().to_owned(),
        uptime_ms: clock::now().boot_ms.saturating_sub(shared.began_boot_ms),
        socket: shared.socket.display().to_string(),
        state_dir: shared.state.display().to_string(),
        store_bytes: fold::bytes(&shared.state),
        last_seq: condition.last_seq,
        durability: shared.config.borrow().durability.word().to_owned(),
        jobs,
        degraded: condition.degraded,
    })
}

/// Made of the protocol's types by a test, which keeps it as it is.
const DESCRIPTION: &str = include_str!("../../../protocol/openrpc.json");

/// As it is sent, on one line; made once, for it is long.
pub(super) fn describe() -> Result<&'static RawValue, Error> {
    static LINE: OnceLock<Box<RawValue>> = OnceLock::new();
    if let Some(line) = LINE.get() {
        return Ok(line);
    }
    let failed = |e: serde_json::Error| {
        Error::new(Code::Internal, format!("the description of the protocol is not understood: {e}"))
    };
    let description: OpenRpc = serde_json::from_str(DESCRIPTION).map_err(failed)?;
    let line = serde_json::value::to_raw_value(&description).map_err(failed)?;
    Ok(LINE.get_or_init(|| line))
}

pub(super) async fn stop(client: &mut Client, shared: &Arc<Shared>) -> Result<Empty, Error> {
    let marker = shared.state.join(crate::STOPPED);
    // A shim whose job ends while no daemon runs must know that this was wanted.
    std::fs::write(&marker, b"")
        .map_err(|e| Error::new(Code::Unavailable, format!("{} can not be written: {e}", marker.display())))?;
    client.waits_for_end = true;
    shared.stop.notify_one();
    Ok(Empty {})
}

pub(super) fn config(shared: &Shared) -> ConfigReply {
    let file = shared.sources.config_file(&|name| std::env::var_os(name));
    let file = file.map(|file| file.path.display().to_string());
    ConfigReply { file, settings: shared.config.borrow().view() }
}

pub(super) async fn reload(
    client: &mut Client,
    shared: &Arc<Shared>,
    params: ReloadParams,
) -> Result<ReloadReply, Error> {
    if !params.exec {
        return Ok(ReloadReply { changed: reload::reload(shared).await?, version: None });
    }
    let asked = shared.clone();
    let version = tokio::task::spawn_blocking(move || {
        let mut config = Vec::new();
        config.extend(asked.sources.file.iter().flat_map(|file| ["--config".into(), file.clone().into_os_string()]));
        config.extend(asked.sources.system.then(|| "--system".into()));
        config.extend(asked.sources.set.iter().flat_map(|word| ["--set".into(), word.into()]));
        replace::successor(&asked.program, &asked.state, &config)
    });
    let version = version.await.map_err(|e| Error::new(Code::Internal, format!("the new program: {e}")))??;
    client.waits_for_end = true;
    shared.replace.store(true, Ordering::Relaxed);
    shared.stop.notify_one();
    Ok(ReloadReply { changed: Vec::new(), version: Some(version) })
}

pub(super) async fn doctor(shared: &Arc<Shared>) -> Result<DoctorReply, Error> {
    let condition = shared.engine.condition().borrow().clone();
    let durability = shared.config.borrow().durability;
    let store = match condition.degraded {
        None => Finding {
            topic: "store".to_owned(),
            health: Health::Ok,
            found: format!(
                "{} in {}, durability {}",
                Bytes(fold::bytes(&shared.state)),
                shared.state.display(),
                durability.word()
            ),
            means: match durability {
                Durability::Full => "what was acknowledged outlives a power failure".to_owned(),
                Durability::Relaxed => {
                    "what was acknowledged outlives a crash of qrmd; a power failure may take the last seconds"
                        .to_owned()
                }
            },
            mend: None,
        },
        Some(why) => Finding {
            topic: "store".to_owned(),
            health: Health::Broken,
            found: why,
            means:
                "nothing new is accepted; jobs that run go on, and their ends are recorded when it can be written again"
                    .to_owned(),
            mend: Some(format!(
                "df -h {} shows its disk; it goes on by itself when there is room",
                shared.state.display()
            )),
        },
    };
    let mut findings = vec![store];
    findings.extend(shared.supervision.iter().cloned());
    let config = shared.config.borrow().clone();
    let looked = super::turns::blocking(move || {
        let mut findings = monitor::findings(config.bounds(), config.memory != Some(Bytes(0)));
        findings.extend(shares::finding(&config));
        findings
    });
    findings.extend(looked.await.map_err(|e| Error::new(Code::Internal, format!("the machine: {e}")))?);
    findings.extend(place::room(&shared.state));
    Ok(DoctorReply { findings })
}
