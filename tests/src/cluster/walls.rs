//! Walls that stop part of a node's traffic, as a network policy or a broken firewall would.

use std::net::IpAddr;
use std::process::Command;

use super::Cluster;
use super::command::run;
use super::error::Result;
use super::layout::{Layout, Machine};

/// What a wall keeps from leaving a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wall {
    /// Everything that the pod of this address sends.
    Pod(IpAddr),
    /// Everything that pods and the node itself send to this TCP port of any pod.
    Port(u16),
}

impl Wall {
    /// The rules, each as the chain and what follows it. Services are translated before these chains see a packet, so a
    /// port is the pod's.
    fn rules(self) -> Vec<(&'static str, [String; 6])> {
        let drop = |words: [&str; 4]| {
            let [one, two, three, four] = words.map(str::to_owned);
            [one, two, three, four, "-j".to_owned(), "DROP".to_owned()]
        };
        match self {
            Self::Pod(address) => vec![("FORWARD", drop(["-s", &address.to_string(), "-p", "all"]))],
            Self::Port(port) => {
                let rule = drop(["-p", "tcp", "--dport", &port.to_string()]);
                vec![("FORWARD", rule.clone()), ("OUTPUT", rule)]
            }
        }
    }
}

impl Cluster {
    /// Raises a wall on a node; established connections are cut, too.
    pub async fn raise(&self, node: &str, wall: Wall) -> Result<()> {
        let node = self.shared.layout.node(node)?;
        self.changing(move |shared| {
            wall.rules().iter().try_for_each(|(chain, rule)| iptables(&shared.layout, node, &["-I", chain], rule))
        })
        .await
    }

    /// Takes a wall down that was raised once.
    pub async fn lower(&self, node: &str, wall: Wall) -> Result<()> {
        let node = self.shared.layout.node(node)?;
        self.changing(move |shared| {
            wall.rules().iter().try_for_each(|(chain, rule)| iptables(&shared.layout, node, &["-D", chain], rule))
        })
        .await
    }
}

/// `--wait`: kube-proxy holds the lock now and then.
fn iptables(layout: &Layout, node: Machine, verb: &[&str], rule: &[String]) -> Result<()> {
    let netns = format!("--net={}", layout.netns(node).display());
    run(Command::new("nsenter").args([&netns, "iptables", "--wait"]).args(verb).args(rule)).map(drop)
}
