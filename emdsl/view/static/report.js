// A report: the viewer's page with its data in the same file.

import "/static/stored.js";
import "/static/app.js";
