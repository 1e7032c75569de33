//! Access: the server's decisions as control-api asks for them.

use std::pin::Pin;

use control_api::access::{Caller, Decision, Denied, Service, Visible};
use media_core::gate;
use media_core::path_name::PathName;

use crate::access::{Access, Refused};

impl control_api::Access for Access {
    fn may_use(&self, service: Service, caller: Caller) -> Decision<'_, ()> {
        let service = match service {
            Service::Api => gate::Service::Api,
            Service::Metrics => gate::Service::Metrics,
        };
        Box::pin(async move {
            let visitor = self.http_visitor(caller.ip, None, &caller.headers, &caller.query);
            self.service(&visitor, service).await.map(|_| ()).map_err(denied)
        })
    }

    fn visible(&self, caller: Caller, cameras: Vec<String>) -> Decision<'_, Visible> {
        Box::pin(async move {
            let visitor = self.http_visitor(caller.ip, None, &caller.headers, &caller.query);
            let paths = cameras.iter().filter_map(|name| PathName::parse(name).ok()).collect();
            let visible = Self::visible(self, &visitor, paths).await.map_err(denied)?;
            let names = visible.paths.iter().map(|path| path.as_str().to_owned()).collect();
            Ok(Visible { names, session: visible.session.map(|key| key.to_string()) })
        })
    }

    fn refresh_keys(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(Self::refresh_keys(self))
    }
}

/// A refusal in control-api's words.
pub(crate) fn denied(refused: Refused) -> Denied {
    match refused {
        Refused::CredentialsWanted => Denied::CredentialsWanted,
        Refused::Wrong => Denied::Wrong,
        Refused::TooManyTries(tries) => Denied::TooManyTries { again_after: tries.again_after },
    }
}
