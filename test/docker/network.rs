//! Networks.

use crate::{BOX, linux};
use medley_test::*;

/// Serves the one page that it has, on port 80.
const SERVER: &str = "echo a page > /tmp/index.html; exec httpd -f -h /tmp";

each_docker! {
    async fn a_published_port_is_answered_before_and_after_a_restart(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        docker.up("it", &["-p", "8080:80", BOX, "sh", "-c", SERVER]).await?;
        assert_eq!(docker.fetch("http://127.0.0.1:8080/").await?, "a page\n");
        docker.says(&["restart", "-t", "0", "it"]).await?;
        assert_eq!(docker.fetch("http://127.0.0.1:8080/").await?, "a page\n");
        let direct = docker.inspect("it", "{{.NetworkSettings.IPAddress}}").await?;
        assert_eq!(docker.fetch(&format!("http://{direct}/")).await?, "a page\n");
        Ok(())
    }

    async fn containers_of_a_network_find_each_other_by_name(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        docker.says(&["network", "create", "ours"]).await?;
        docker.up("web", &["--network", "ours", BOX, "sh", "-c", SERVER]).await?;
        let get = ["run", "--rm", "--runtime", docker.flag(), "--network", "ours", BOX, "wget", "-qO-", "http://web/"];
        docker.until_says(&get, |said| said == "a page\n").await?;
        docker.says(&["network", "disconnect", "ours", "web"]).await?;
        docker.says(&["network", "connect", "--alias", "other", "ours", "web"]).await?;
        let get = get.map(|word| if word == "http://web/" { "http://other/" } else { word });
        docker.until_says(&get, |said| said == "a page\n").await?;
        docker.says(&["rm", "-f", "web"]).await?;
        docker.says(&["network", "rm", "ours"]).await?;
        docker.expect_clean()
    }

    async fn a_network_is_none_the_hosts_or_anothers(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        let links = ["ls", "/sys/class/net"];
        let seen = async |options: &[&str]| docker.run_says(&[options, &[BOX], &links].concat()).await;
        assert_eq!(seen(&["--network", "none"]).await?, "lo");
        let host = seen(&["--network", "host"]).await?;
        assert!(host.contains("docker0"), "{host}");
        docker.up("web", &[BOX, "sh", "-c", SERVER]).await?;
        let get = ["run", "--rm", "--runtime", docker.flag(), "--network", "container:web", BOX, "wget", "-qO-", "http://127.0.0.1/"];
        docker.until_says(&get, |said| said == "a page\n").await?;
        Ok(())
    }

    async fn names_and_addresses_are_as_asked(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        let options = ["--hostname", "box", "--domainname", "lan", "--add-host", "friend:10.1.2.3", "--dns", "9.9.9.9", "--dns-search", "lan", "--mac-address", "02:42:ac:11:00:99"];
        let script = "hostname; cat /proc/sys/kernel/domainname; grep friend /etc/hosts; grep -E '^(nameserver|search)' /etc/resolv.conf; cat /sys/class/net/eth0/address";
        let said = docker.run_says(&[&options[..], &[BOX, "sh", "-c", script]].concat()).await?;
        assert_eq!(said, "box\nlan\n10.1.2.3\tfriend\nnameserver 9.9.9.9\nsearch lan\n02:42:ac:11:00:99");
        Ok(())
    }
}
