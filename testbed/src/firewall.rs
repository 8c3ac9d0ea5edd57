//! Dropping part of a node's traffic, as a network policy or a broken firewall would.

use std::net::IpAddr;
use std::process::Command;

use crate::cluster::Cluster;
use crate::command::run;
use crate::error::Result;
use crate::layout::{Layout, Machine};

/// Traffic that can be kept from leaving a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Everything that the pod with this address sends.
    FromPod(IpAddr),
    /// Everything that the node and its pods send to this TCP port of any pod.
    ToPort(u16),
}

impl Traffic {
    /// The iptables rules that drop this traffic, each as the chain and the rest. Service addresses are translated before
    /// these chains see a packet, so a port is the pod's port.
    fn rules(self) -> Vec<(&'static str, [String; 6])> {
        let drop = |words: [&str; 4]| {
            let [one, two, three, four] = words.map(str::to_owned);
            [one, two, three, four, "-j".to_owned(), "DROP".to_owned()]
        };
        match self {
            Self::FromPod(address) => vec![("FORWARD", drop(["-s", &address.to_string(), "-p", "all"]))],
            Self::ToPort(port) => {
                let rule = drop(["-p", "tcp", "--dport", &port.to_string()]);
                vec![("FORWARD", rule.clone()), ("OUTPUT", rule)]
            }
        }
    }
}

impl Cluster {
    /// Drops this traffic on a node, including that of established connections.
    pub async fn block(&self, node: &str, traffic: Traffic) -> Result<()> {
        self.change_rules(node, traffic, "-I").await
    }

    /// Lets traffic pass again that was blocked once.
    pub async fn unblock(&self, node: &str, traffic: Traffic) -> Result<()> {
        self.change_rules(node, traffic, "-D").await
    }

    async fn change_rules(&self, node: &str, traffic: Traffic, verb: &'static str) -> Result<()> {
        let node = self.shared.layout.node(node)?;
        self.changing(move |shared| {
            traffic.rules().iter().try_for_each(|(chain, rule)| iptables(&shared.layout, node, &[verb, chain], rule))
        })
        .await
    }
}

/// `--wait`: kube-proxy holds the lock of iptables now and then.
fn iptables(layout: &Layout, node: Machine, verb: &[&str], rule: &[String]) -> Result<()> {
    let netns = format!("--net={}", layout.netns(node).display());
    run(Command::new("nsenter").args([&netns, "iptables", "--wait"]).args(verb).args(rule)).map(drop)
}
