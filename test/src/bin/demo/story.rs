//! The demo from the first image to the last container, on a containerd that is there.

use std::fmt;
use std::time::{Duration, Instant};

use medley_test::cri::{CriContainer, Pod};
use medley_test::images::read_layout;
use medley_test::runtime::workspace;
use medley_test::{
    Containerd, Context as _, Image, PodContainer, PodOptions, Result, bail, ensure,
};
use tokio::process::Command;

use crate::show::Show;
use crate::{http, plans};

/// Where the pod's containers find the volume that they share.
const SHARED: &str = "/shared";

/// Where the sidecar listens.
const PORT: u16 = 8080;

/// Numbers to be factored: a small one, a prime, and the product of two large primes, which
/// takes the guest a million divisions.
const NUMBERS: [u64; 3] = [360, 2_147_483_647, 2_000_003 * 3_000_017];

/// How long a container may take to end on SIGTERM, in seconds, before SIGKILL.
const GRACE: i64 = 5;

/// Everything between a running containerd and an empty one.
pub(crate) async fn tell(show: &Show, containerd: &Containerd) -> Result<()> {
    let wasm = build(show, containerd, "hello-wasm").await?;
    let linux = build(show, containerd, "sidecar").await?;
    show.step("importing both images");
    containerd.import_cri(&[&wasm, &linux]).await?;

    show.step("CRI RunPodSandbox, runtime handler `wasm`");
    let cri = containerd.cri().await?;
    let pod = cri.run_pod("demo", PodOptions::default()).await?;
    show.detail(&format!("pod {}, address {}", short(&pod.id), pod.ip));
    let containers = start(show, containerd, &pod, &wasm, &linux).await?;
    dispatch(show, containerd, &pod, &containers).await?;
    ask(show, &pod).await?;
    for container in &containers {
        logs(show, container)?;
    }
    stop(show, containerd, pod, &containers).await
}

/// Runs the script that builds a sample image, and reads what it left.
async fn build(show: &Show, containerd: &Containerd, name: &str) -> Result<Image> {
    show.step(&format!("building the image images/{name}"));
    let archive = containerd.dir().join(format!("{name}.tar"));
    let script = workspace().join("images").join(name).join("build");
    let done = Command::new(&script)
        .arg(&archive)
        .kill_on_drop(true)
        .output()
        .await;
    let done = done.with_context(|| format!("cannot run {}", script.display()))?;
    let stderr = String::from_utf8_lossy(&done.stderr);
    ensure!(
        done.status.success(),
        "{} failed:\n{stderr}",
        script.display()
    );
    let image = read_layout(&archive)?;
    show.detail(&format!("{}, runs {}", image.name, image.args.join(" ")));
    Ok(image)
}

/// The pod's containers, in a kubelet's order: the init container to its end, then the rest.
async fn start(
    show: &Show,
    containerd: &Containerd,
    pod: &Pod,
    wasm: &Image,
    linux: &Image,
) -> Result<[CriContainer; 3]> {
    let volume = containerd.dir().join("shared");
    std::fs::create_dir(&volume)?;
    let mounted = |container: PodContainer| container.volume(&volume, SHARED, false);

    show.step("init container `prepare` (Linux)");
    let script =
        format!("mkdir {SHARED}/jobs && echo \"prepared $(ls -d {SHARED}/*) as $(uname -s)\"");
    let prepare = PodContainer::new("prepare", linux).command(["/bin/sh", "-c", &script]);
    let prepare = pod.run(mounted(prepare)).await?;
    let status = prepare.wait().await?;
    ensure!(
        status.exit_code == 0,
        "`prepare` exited with {}",
        status.exit_code
    );

    let jobs = format!("{SHARED}/jobs");
    show.step("container `factor` (Wasm)");
    let factor = PodContainer::new("factor", wasm).args(["serve", &jobs]);
    let factor = timed(show, pod.run(mounted(factor))).await?;

    show.step("container `web` (Linux sidecar)");
    let web = PodContainer::new("web", linux)
        .env("SHARED", &jobs)
        .env("PORT", &PORT.to_string());
    let web = timed(show, pod.run(mounted(web))).await?;
    Ok([prepare, factor, web])
}

async fn timed<T>(show: &Show, call: impl Future<Output = Result<T>>) -> Result<T> {
    let began = Instant::now();
    let answer = call.await?;
    show.detail(&format!(
        "created and started in {} ms",
        began.elapsed().as_millis()
    ));
    Ok(answer)
}

/// What each container was dispatched to, as the shim logged it.
async fn dispatch(
    show: &Show,
    containerd: &Containerd,
    pod: &Pod,
    containers: &[CriContainer],
) -> Result<()> {
    show.step("what each container was dispatched to");
    let mut rows = vec![
        ["container", "dispatched to", "file", "because", "state"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let log = containerd.log();
    let plan =
        |id: &str| plans::find(&log, id).with_context(|| format!("no plan for {id} in the log"));
    let sandbox = plan(&pod.id)?;
    let nothing = || "-".to_owned();
    rows.push(vec![
        nothing(),
        sandbox.target,
        nothing(),
        sandbox.why,
        "running".into(),
    ]);
    for container in containers {
        let plan = plan(&container.id)?;
        let status = container.status().await?;
        let state = match status.finished_at {
            0 => format!("running, pid {}", container.pid().await?),
            _ => format!("exited, status {}", status.exit_code),
        };
        rows.push(vec![
            container.name.clone(),
            plan.target,
            plan.file,
            plan.why,
            state,
        ]);
    }
    show.table(&rows);
    let shims = containerd.shims();
    let pids: Vec<_> = shims.iter().map(|shim| shim.pid.to_string()).collect();
    ensure!(
        shims.len() == 1,
        "{} shims serve one pod: {}",
        shims.len(),
        pids.join(", ")
    );
    show.detail(&format!(
        "one shim process serves them all: pid {}",
        pids.join(", ")
    ));
    Ok(())
}

/// Has the pod answer over HTTP, and checks the answers.
async fn ask(show: &Show, pod: &Pod) -> Result<()> {
    show.step("host -> HTTP -> `web` (Linux) -> shared volume -> `factor` (Wasm), and back");
    let address = format!("{}:{PORT}", pod.ip);
    for number in NUMBERS {
        let began = Instant::now();
        let answer = http::get(&address, &format!("/cgi-bin/factor?{number}")).await?;
        ensure!(
            multiplies_to(&answer, number),
            "a wrong answer for {number}: {answer}"
        );
        let took = began.elapsed().as_millis();
        show.detail(&format!("GET http://{address}/cgi-bin/factor?{number}"));
        show.detail(&format!("    {answer}    ({took} ms)"));
    }
    Ok(())
}

/// Whether the answer is `N = A * B * …` with factors that give N.
fn multiplies_to(answer: &str, number: u64) -> bool {
    let Some((left, right)) = answer.split_once(" = ") else {
        return false;
    };
    let factors: Option<Vec<u64>> = right
        .split(" * ")
        .map(|factor| factor.parse().ok())
        .collect();
    left == number.to_string()
        && factors.is_some_and(|factors| factors.iter().product::<u64>() == number)
}

fn logs(show: &Show, container: &CriContainer) -> Result<()> {
    show.step(&format!("log of `{}`", container.name));
    for line in container.log()? {
        show.detail(&format!("{} | {}", line.stream, line.text));
    }
    Ok(())
}

/// Stops and removes everything, and compares what is there before and after.
async fn stop(
    show: &Show,
    containerd: &Containerd,
    pod: Pod,
    containers: &[CriContainer],
) -> Result<()> {
    let except = [containerd.pid()];
    let before = containerd.leftovers().inspect(&except);
    for container in containers {
        if container.status().await?.finished_at != 0 {
            continue;
        }
        show.step(&format!("stopping `{}`: SIGTERM", container.name));
        let began = Instant::now();
        container.stop(GRACE).await?;
        let took = began.elapsed();
        let status = container.status().await?;
        show.detail(&format!(
            "exit status {} after {} ms",
            status.exit_code,
            took.as_millis()
        ));
        ensure!(
            status.exit_code != 137,
            "`{}` ignored SIGTERM",
            container.name
        );
    }
    show.step("CRI StopPodSandbox, RemovePodSandbox");
    pod.remove().await?;
    let after = containerd
        .leftovers()
        .settle(&except, Duration::from_secs(5));
    show.step("what the pod had on the host, and what is left of it");
    let (had, has) = (Census::of(&before), Census::of(&after));
    let mut rows = vec![["", "while it ran", "now"].map(str::to_owned).to_vec()];
    for ((what, had), (_, has)) in had.counts.iter().zip(&has.counts) {
        rows.push(vec![(*what).to_owned(), had.to_string(), has.to_string()]);
    }
    show.table(&rows);
    if !after.is_empty() {
        bail!("left behind:\n  {}", after.join("\n  "));
    }
    Ok(())
}

/// The kinds of things that a pod puts on a host, as the leftovers's list names them.
const KINDS: [(&str, &str); 6] = [
    ("processes", "process "),
    ("mounts", "mount "),
    ("cgroups", "cgroup "),
    ("network namespaces", "network namespace "),
    ("network links", "network link "),
    ("shim sockets", "socket "),
];

/// How many of each kind there are.
pub(crate) struct Census {
    counts: Vec<(&'static str, usize)>,
}

impl Census {
    pub(crate) fn of(found: &[String]) -> Self {
        let count = |prefix: &str| found.iter().filter(|line| line.starts_with(prefix)).count();
        Self {
            counts: KINDS
                .iter()
                .map(|(what, prefix)| (*what, count(prefix)))
                .collect(),
        }
    }
}

impl fmt::Display for Census {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self
            .counts
            .iter()
            .map(|(what, count)| format!("{count} {what}"))
            .collect();
        out.write_str(&parts.join(", "))
    }
}

/// Enough of an id to tell it from others.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_to_multiply_to_its_number() {
        assert!(multiplies_to("12 = 2 * 2 * 3", 12));
        assert!(!multiplies_to("12 = 2 * 3", 12));
        assert!(!multiplies_to("13 = 12", 12));
        assert!(!multiplies_to("not a number", 12));
    }
}
