BEGIN TRANSACTION;
CREATE TABLE audit (
        seq INTEGER PRIMARY KEY,
        entry TEXT NOT NULL,
        hash TEXT NOT NULL
    );
INSERT INTO "audit" VALUES(7,'{"at":"2026-11-30T17:47:21.298Z","actor":"bob","role":"operator","source":"192.0.2.8","action":"archiveAudit","subject":"6:5a4faf2c1ba44ad95d38c41f0c7c45f8fdbf198cfb2ff96a0e3c57615087f99a","result":"done","details":{}}','38edc06a916f9a256b10a14b768da52d75ac0cddb8a19f9cbe2276cac9f4cd6b');
INSERT INTO "audit" VALUES(8,'{"at":"2026-11-30T17:47:21.596Z","actor":"alice","role":"analyst","source":"192.0.2.7","action":"pinJob","subject":"am34izxfmhf4","result":"done","details":{"owner":"alice"}}','92b39124683d69756ad610aa9756766507c14df053545f9e5923afd04e9f4ef3');
INSERT INTO "audit" VALUES(9,'{"at":"2026-11-30T17:47:21.966Z","actor":"alice","role":"analyst","source":"192.0.2.7","action":"rerunJob","subject":"zmdru5qmp7jy","result":"done","details":{"script":"succeed.py","commit":"fff7dfe72abd67574266d67b9dc3918fee014041","priority":0,"parameters":["depth","rate"],"parameters_sha256":"5f160981992ab3fdfcea145d091a9389522ff1a507086e589722879d0671b3bc","rerun_of":"blj52tdyur5h"}}','022fb04d1a9c4faea2a66cf3b10311efa602e14f5d0fc3dd937b5d7ed47058f5');
INSERT INTO "audit" VALUES(10,'{"at":"2026-11-30T17:47:22.200Z","actor":"bob","role":"operator","source":"192.0.2.8","action":"cancelJob","subject":"n6jopblaj6xd","result":"done","details":{"owner":"alice"}}','ffeacb75d35c9a03f9685b730dcba640e15de0cec82606497c3192f5d2453e67');
INSERT INTO "audit" VALUES(11,'{"at":"2026-11-30T17:47:22.298Z","actor":"alice","role":"analyst","source":"192.0.2.7","action":"submitJob","subject":"slc2cni4wrm2","result":"done","details":{"script":"succeed.py","commit":"fff7dfe72abd67574266d67b9dc3918fee014041","priority":-3,"parameters":["depth","rate"],"parameters_sha256":"e85e78421fa11721f3ba982944f3d350f80191e882c81b2637375a5977be24e2"}}','106cdae83b876d6e7cc16689f2345cfe83fc4e32fdf5e3bdbf7551e33cfca91f');
INSERT INTO "audit" VALUES(12,'{"at":"2026-11-30T17:47:22.303Z","actor":"bob","role":"operator","source":"192.0.2.8","action":"submitJob","subject":"pk7qv4ovu4gt","result":"done","details":{"script":"succeed.py","commit":"fff7dfe72abd67574266d67b9dc3918fee014041","priority":0}}','ba1ab9206dfe9dcbe023b05371f64f116278fc7122bc8074f7b90bd60d772fb7');
INSERT INTO "audit" VALUES(13,'{"at":"2026-11-30T17:47:22.304Z","actor":"alice","role":"analyst","source":"192.0.2.7","action":"cancelJob","subject":"pk7qv4ovu4gt","result":"done","details":{"owner":"bob"}}','475e6e8885d0d598305d14d9f909566808159af42870a9c7d32158de13ba6842');
INSERT INTO "audit" VALUES(14,'{"at":"2026-11-30T17:47:22.306Z","actor":"bob","role":"operator","source":"192.0.2.8","action":"submitJob","subject":"dl5qagfgi5x5","result":"done","details":{"script":"succeed.py","commit":"fff7dfe72abd67574266d67b9dc3918fee014041","priority":0}}','3ed2665f6c91c24b0f42d9e79ba11bd171ed449f9e8c9c0c71f4f9c2125beb0e');
CREATE TABLE audit_anchor (seq INTEGER NOT NULL, hash TEXT NOT NULL);
INSERT INTO "audit_anchor" VALUES(6,'5a4faf2c1ba44ad95d38c41f0c7c45f8fdbf198cfb2ff96a0e3c57615087f99a');
CREATE TABLE certificates (
        serial TEXT PRIMARY KEY,
        user TEXT NOT NULL,
        role TEXT NOT NULL,
        issued_at TEXT NOT NULL,
        expires_at TEXT NOT NULL,
        revoked_at TEXT
    , authority TEXT NOT NULL DEFAULT '', renews TEXT, used_at TEXT, fingerprint TEXT NOT NULL DEFAULT '') WITHOUT ROWID;
INSERT INTO "certificates" VALUES('1a','alice','analyst','2026-11-28T17:47:21.243Z','2026-12-28T17:47:21.243Z',NULL,'abababababababababababababababababababababababababababababababab',NULL,'2026-11-30T17:47:21.243Z','cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd');
INSERT INTO "certificates" VALUES('2b','bob','operator','2026-11-28T17:47:21.243Z','2026-12-28T17:47:21.243Z','2026-11-30T17:47:21.243Z','abababababababababababababababababababababababababababababababab',NULL,NULL,'cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd');
INSERT INTO "certificates" VALUES('3c','carol','analyst','2026-11-28T17:47:21.243Z','2026-11-29T17:47:21.243Z',NULL,'abababababababababababababababababababababababababababababababab',NULL,NULL,'cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd');
INSERT INTO "certificates" VALUES('4d','dave','analyst','2026-11-28T17:47:21.243Z','2026-12-28T17:47:21.243Z',NULL,'',NULL,NULL,'');
INSERT INTO "certificates" VALUES('5e','alice','analyst','2026-11-30T17:47:21.243Z','2026-12-28T17:47:21.243Z',NULL,'abababababababababababababababababababababababababababababababab','1a',NULL,'cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd');
CREATE TABLE change_history (epoch TEXT NOT NULL, forgotten INTEGER NOT NULL);
INSERT INTO "change_history" VALUES('b7cbcc9b',0);
CREATE TABLE changes (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        job_id TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        removed INTEGER NOT NULL
    );
INSERT INTO "changes" VALUES(3,'blj52tdyur5h','alice',0);
INSERT INTO "changes" VALUES(6,'2wogmefe74kt','alice',0);
INSERT INTO "changes" VALUES(9,'fdzampfb4lld','alice',0);
INSERT INTO "changes" VALUES(13,'am34izxfmhf4','alice',0);
INSERT INTO "changes" VALUES(25,'imqdpsieqja7','alice',0);
INSERT INTO "changes" VALUES(30,'4wfncjcwih4b','alice',0);
INSERT INTO "changes" VALUES(33,'zmdru5qmp7jy','alice',0);
INSERT INTO "changes" VALUES(34,'okpszxgmtqnd','alice',0);
INSERT INTO "changes" VALUES(35,'qlnd7juhibpv','alice',0);
INSERT INTO "changes" VALUES(36,'x2odnb5udopb','alice',1);
INSERT INTO "changes" VALUES(39,'t5qaxcbpl27m','alice',0);
INSERT INTO "changes" VALUES(42,'r6nplmca53ti','alice',0);
INSERT INTO "changes" VALUES(46,'n6jopblaj6xd','alice',0);
INSERT INTO "changes" VALUES(48,'cs3tqe7ybwvu','alice',0);
INSERT INTO "changes" VALUES(51,'7r2zrgeh5u5m','alice',0);
INSERT INTO "changes" VALUES(52,'slc2cni4wrm2','alice',0);
INSERT INTO "changes" VALUES(54,'pk7qv4ovu4gt','bob',0);
INSERT INTO "changes" VALUES(55,'dl5qagfgi5x5','bob',0);
CREATE TABLE idempotency_keys (
        owner TEXT NOT NULL,
        key TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
        PRIMARY KEY (owner, key)
    ) WITHOUT ROWID;
INSERT INTO "idempotency_keys" VALUES('alice','a-key-of-alice','5190b03fa28023c9c870ea7e1b2b1b8fc6c05d36be7555a472777e9a18026959','slc2cni4wrm2');
INSERT INTO "idempotency_keys" VALUES('bob','a-key-of-alice','c175fd4cb494c7bc771fc9a2755922974bf67247c4f86d5ecca2f124ef47c430','dl5qagfgi5x5');
CREATE TABLE jobs (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        prefix TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        script TEXT NOT NULL,
        status TEXT NOT NULL,
        active INTEGER NOT NULL,
        manager TEXT NOT NULL DEFAULT '',
        document TEXT NOT NULL
    , bytes INTEGER, pinned INTEGER AS (coalesce(json_extract(document, '$.pinned'), 0)) VIRTUAL, finished_at TEXT AS (json_extract(document, '$.finished_at')) VIRTUAL, removed_at TEXT AS (json_extract(document, '$.removed.at')) VIRTUAL, revision_of_scripts TEXT AS (json_extract(document, '$.commit')) VIRTUAL, image TEXT AS (json_extract(document, '$.image')) VIRTUAL, image_digest TEXT AS (json_extract(document, '$.image_digest')) VIRTUAL);
INSERT INTO "jobs" VALUES(1,'blj52tdyur5h','blj52tdy','alice','succeed.py','COMPLETED',0,'boot:1','{"job_id":"blj52tdyur5h","status":"COMPLETED","container_id":"","owner":"alice","script_name":"succeed.py","hyperparameters":{"depth":"7","rate":"0.5"},"name":"churn","labels":{"team":"a","run":"7"},"limits":{"memory_bytes":67108864,"cpus":1.0,"tasks":512,"run_time_seconds":60,"artifact_bytes":8589934592,"artifact_files":10000},"priority":0,"commit":"fff7dfe72abd67574266d67b9dc3918fee014041","script_sha256":"5dbad7dd0b9b122dcd9956884390f4aac4738caba8ff53498a7ab6718b176c30","image":"localhost/ml-agent-test:e60270bf5c82","image_digest":"sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","secrets":[],"network":"none","unit":"ml-job@blj52tdyur5h.service","max_attempts":1,"retry_on":["interrupted","start-failed"],"attempt":1,"attempts":[{"number":1,"invocation_id":"0123456789abcdef0123456789abcdef","container_id":"","exit_status":0,"started_at":"2026-11-30T17:47:21.382Z","finished_at":"2026-11-30T17:47:21.388Z"}],"invocation_id":"0123456789abcdef0123456789abcdef","exit_status":0,"cancel_requested":false,"created_at":"2026-11-30T17:47:21.365Z","started_at":"2026-11-30T17:47:21.382Z","finished_at":"2026-11-30T17:47:21.388Z","pinned":false,"revision":3}',4096);
INSERT INTO "jobs" VALUES(2,'2wogmefe74kt','2wogmefe','alice','succeed.py','FAILED',0,'boot:1','{"job_id":"2wogmefe74kt","status":"FAILED","reason":"exit-code","message":"The script exited with status 3.","container_id":"","owner":"alice","script_name":"succeed.py","hyperparameters":{},"labels":{},"limits":{"memory_bytes":67108864,"cpus":1.0,"tasks":512,"run_time_seconds":60,"artifact_bytes":8589934592,"artifact_files":10000},"priority":0,"commit":"fff7dfe72abd67574266d67b9dc3918fee014041","script_sha256":"5dbad7dd0b9b122dcd9956884390f4aac4738caba8ff53498a7ab6718b176c30","image":"localhost/ml-agent-test:e60270bf5c82","image_digest":"sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","secrets":[],"network":"none","unit":"ml-job@2wogmefe74kt.service","max_attempts":1,"retry_on":["interrupted","start-failed"],"attempt":1,"attempts":[{"number":1,"invocation_id":"0123456789abcdef0123456789abcdef","container_id":"","exit_status":3,"reason":"exit-code","message":"The script exited with status 3.","started_at":"2026-11-30T17:47:21.450Z","finished_at":"2026-11-30T17:47:21.455Z"}],"invocation_id":"0123456789abcdef0123456789abcdef","exit_status":3,"cancel_requested":false,"created_at":"2026-11-30T17:47:21.428Z","started_at":"2026-11-30T17:47:21.450Z","finished_at":"2026-11-30T17:47:21.455Z","pinned":false,"revision":3}',4097);
INSERT INTO "jobs" VALUES(3,'fdzampfb4lld','fdzampfb','alice','succeed.py','FAILED',0,'boot:1','{"job_id":"fdzampfb4lld","status":"FAILED","reason":"oom-kill","message":"The job needed more memory than its limit.","container_id":"","owner":"alice","script_name":"succeed.py","hyperparameters":{},"labels":{},"limits":{"memory_bytes":67108864,"cpus":1.0,"tasks":512,"run_time_seconds":60,"artifact_bytes":8589934592,"artifact_files":10000},"priority":0,"commit":"fff7dfe72abd67574266d67b9dc3918fee014041","script_sha256":"5dbad7dd0b9b122dcd9956884390f4aac4738caba8ff53498a7ab6718b176c30","image":"localhost/ml-agent-test:e60270bf5c82","image_digest":"sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","secrets":[],"network":"none","unit":"ml-job@fdzampfb4lld.service","max_attempts":1,"retry_on":["interrupted","start-failed"],"attempt":1,"attempts":[{"number":1,"invocation_id":"0123456789abcdef0123456789abcdef","container_id":"","reason":"oom-kill","message":"The job needed more memory than its limit.","started_at":"2026-11-30T17:47:21.503Z","finished_at":"2026-11-30T17:47:21.505Z"}],"invocation_id":"0123456789abcdef0123456789abcdef","cancel_requested":false,"created_at":"2026-11-30T17:47:21.482Z","started_at":"2026-11-30T17:47:21.503Z","finished_at":"2026-11-30T17:47:21.505Z","pinned":false,"revision":3}',4098);
INSERT INTO "jobs" VALUES(4,'am34izxfmhf4','am34izxf','alice','succeed.py','COMPLETED',0,'boot:1','{"job_id":"am34izxfmhf4","status":"COMPLETED","container_id":"","owner":"alice","script_name":"succeed.py","hyperparameters":{},"labels":{},"limits":{"memory_bytes":67108864,"cpus":1.0,"tasks":512,"run_time_seconds":60,"artifact_bytes":8589934592,"artifact_files":10000},"priority":0,"commit":"fff7dfe72abd67574266d67b9dc3918fee014041","script_sha256":"5dbad7dd0b9b122dcd9956884390f4aac4738caba8ff53498a7ab6718b176c30","image":"localhost/ml-agent-test:e60270bf5c82","image_digest":"sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","secrets":[],"network":"none","unit":"ml-job@am34izxfmhf4.service","max_attempts":1,"retry_on":["interrupted","start-failed"],"attempt":1,"attempts":[{"number":1,"invocation_id":"0123456789abcdef0123456789abcdef","container_id":"","exit_status":0,"started_at":"2026-11-30T17:47:21.566Z","finished_at":"2026-11-30T17:47:21.567Z"}],"invocation_id":"0123456789abcdef0123456789abcdef","exit_status":0,"cancel_requested":false,"created_at":"2026-11-30T17:47:21.541Z","started_at":"2026-11-30T17:47:21.566Z","finished_at":"2026-11-30T17:47:21.567Z","pinned":true,"revision":4}',4099);
INSERT INTO "jobs" VALUES(5,'okpszxgmtqnd','okpszxgm','alice','succeed.py','COMPLETED',0,'boot:1','{"job_id":"okpszxgmtqnd","status":"COMPLETED","container_id":"","owner":"alice","script_name":"succeed.py","hyperparameters":{},"labels":{},"limits":{"memory_bytes":67108864,"cpus":1.0,"tasks":512,"run_time_seconds":60,"artifact_bytes":8589934592,"artifact_files":10000},"priority":0,"commit":"fff7dfe72abd67574266d67b9dc3918fee014041","script_sha256":"5dbad7dd0b9b122dcd9956884390f4aac4738caba8ff53498a7ab6718b176c30","image":"localhost/ml-agent-test:e60270bf5c82","image_digest":"sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","secrets":[],"network":"none","unit":"ml-job@okpszxgmtqnd.service","max_attempts":1,"retry_on":["interrupted","start-failed"],"attempt":1,"attempts":[{"number":1,"invocation_id":"0123456789abcdef0123456789abcdef","container_id":"","exit_status":0,"started_at":"2026-11-30T17:47:21.622Z","finished_at":"2026-11-30T17:47:21.628Z"}],"invocation_id":"0123456789abcdef0123456789abcdef","exit_status":0,"cancel_requested":false,"created_at":"2026-11-30T17:47:21.597Z","started_at":"2026-11-30T17:47:21.622Z","finished_at":"2026-11-30T17:47:21.628Z","pinned":false,"removed":{"at":"2026-11-30T17:47:22.018Z","rule":"age"},"revision":4}',0);
INSERT INTO "jobs" VALUES(6,'qlnd7juhibpv','qlnd7juh','alice','succeed.py','COMPLETED',0,'boot:1','{"job_id":"qlnd7juhibpv","status":"COMPLETED","container_id":"","owner":"alice","script_name":"succeed.py","hyperparameters":{},"labels":{},"limits":{"memory_bytes":67108864,"cpus":1.0,"tasks":512,"run_time_seconds":60,"artifact_bytes":8589934592,"artifact_files":10000},"priority":0,"commit":"fff7dfe72abd67574266d67b9dc3918fee014041","script_sha256":"5dbad7dd0b9b122dcd9956884390f4aac4738caba8ff53498a7ab6718b176c30","image":"localhost/ml-agent-test:e60270bf5c82","image_digest":"sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","secrets":[],"network":"none","unit":"ml-job@qlnd7juhibpv.service","max_attempts":1,"retry_on":["interrupted","start-failed"],"attempt":1,"attempts":[{"number":1,"invocation_id":"0123456789abcdef0123456789abcdef","container_id":"","exit_status":0,"started_at":"2026-11-30T17:47:21.672Z","finished_at":"2026-11-30T17:47:21.677Z"}],"invocation_id":"0123456789abcdef0123456789abcdef","exit_status":0,"cancel_requested":false,"created_at":"2026-11-30T17:47:21.654Z","started_at":"2026-11-30T17:47:21.672Z","finished_at":"2026-11-30T17:47:21.677Z","pinned":false,"removed":{"at":"2026-11-30T17:47:22.018Z","rule":"age"},"revision":4}',0);
INSERT INTO "jobs" VALUES(8,'imqdpsieqja7','imqdpsie','alice','succeed.py','COMPLETED',0,'boot:1','{"job_id":"imqdpsieqja7","status":"COMPLETED","container_id":"","owner":"alice","script_name":"succeed.py","hyperparameters":{},"labels":{},"limits":{"memory_bytes":67108864,"cpus":1.0,"tasks":512,"run_time_seconds":60,"artifact_bytes":8589934592,"artifact_files":10000},"priority":0,"commit":"fff7dfe72abd67574266d67b9dc3918fee014041","script_sha256":"5dbad7dd0b9b122dcd9956884390f4aac4738caba8ff53498a7ab6718b176c30","image":"localhost/ml-agent-test:e60270bf5c82","image_digest":"sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","secrets":[],"network":"none","unit":"ml-job@imqdpsieqja7.service","max_attempts":1,"retry_on":["interrupted","start-failed"],"attempt":1,"attempts":[{"number":1,"invocation_id":"0123456789abcdef0123456789abcdef","container_id":"","exit_status":0,"started_at":"2026-11-30T17:47:21.738Z","finished_at":"2026-11-30T17:47:21.745Z"}],"invocation_id":"0123456789abcdef0123456789abcdef","exit_status":0,"cancel_requested":false,"created_at":"2026-11-30T17:47:21.722Z","started_at":"2026-11-30T17:47:21.738Z","finished_at":"2026-11-30T17:47:21.745Z","pinned":false,"revision":3}',NULL);
INSERT INTO "jobs" VALUES(9,'4wfncjcwih4b','4wfncjcw','alice','succeed.py','COMPLETED',0,'boot:1','{"job_id":"4wfncjcwih4b","status":"COMPLETED","container_id":"","owner":"alice","script_name":"succeed.py","hyperparameters":{},"labels":{},"limits":{"memory_bytes":67108864,"cpus":1.0,"tasks":512,"run_time_seconds":60,"artifact_bytes":8589934592,"artifact_files":10000},"priority":0,"commit":"fff7dfe72abd67574266d67b9dc3918fee014041","script_sha256":"5dbad7dd0b9b122dcd9956884390f4aac4738caba8ff53498a7ab6718b176c30","image":"localhost/ml-agent-test:e60270bf5c82","image_digest":"sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","secrets":[],"network":"none","unit":"ml-job@4wfncjcwih4b.service","max_attempts":2,"retry_on":["exit-code"],"attempt":2,"attempts":[{"number":1,"invocation_id":"0123456789abcdef0123456789abcdef","container_id":"","exit_status":3,"reason":"exit-code","message":"The script exited with status 3.","started_at":"2026-11-30T17:47:21.806Z","finished_at":"2026-11-30T17:47:21.810Z"},{"number":2,"invocation_id":"ffffffffffffffffffffffffffffffff","container_id":"","exit_status":0,"started_at":"2026-11-30T17:47:21.931Z","finished_at":"2026-11-30T17:47:21.934Z"}],"invocation_id":"ffffffffffffffffffffffffffffffff","exit_status":0,"cancel_requested":false,"created_at":"2026-11-30T17:47:21.786Z","started_at":"2026-11-30T17:47:21.931Z","finished_at":"2026-11-30T17:47:21.934Z","pinned":false,"revision":5}',NULL);
INSERT INTO "jobs" VALUES(10,'zmdru5qmp7jy','zmdru5qm','alice','succeed.py','COMPLETED',0,'boot:1','{"job_id":"zmdru5qmp7jy","status":"COMPLETED","container_id":"","owner":"alice","script_name":"succeed.py","hyperparameters":{"depth":"9","rate":"0.5"},"name":"churn","labels":{"team":"a","run":"7"},"limits":{"memory_bytes":67108864,"cpus":1.0,"tasks":512,"run_time_seconds":60,"artifact_bytes":8589934592,"artifact_files":10000},"priority":0,"rerun_of":"blj52tdyur5h","commit":"fff7dfe72abd67574266d67b9dc3918fee014041","script_sha256":"5dbad7dd0b9b122dcd9956884390f4aac4738caba8ff53498a7ab6718b176c30","image":"localhost/ml-agent-test:e60270bf5c82","image_digest":"sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","secrets":[],"network":"none","unit":"ml-job@zmdru5qmp7jy.service","max_attempts":1,"retry_on":["interrupted","start-failed"],"attempt":1,"attempts":[{"number":1,"invocation_id":"0123456789abcdef0123456789abcdef","container_id":"","exit_status":0,"started_at":"2026-11-30T17:47:21.990Z","finished_at":"2026-11-30T17:47:21.995Z"}],"invocation_id":"0123456789abcdef0123456789abcdef","exit_status":0,"cancel_requested":false,"created_at":"2026-11-30T17:47:21.963Z","started_at":"2026-11-30T17:47:21.990Z","finished_at":"2026-11-30T17:47:21.995Z","pinned":false,"revision":3}',NULL);
INSERT INTO "jobs" VALUES(11,'t5qaxcbpl27m','t5qaxcbp','alice','succeed.py','PENDING',1,'boot:1','{"job_id":"t5qaxcbpl27m","status":"PENDING","container_id":"","owner":"alice","script_name":"succeed.py","hyperparameters":{},"labels":{},"limits":{"memory_bytes":67108864,"cpus":1.0,"tasks":512,"run_time_seconds":60,"artifact_bytes":8589934592,"artifact_files":10000},"priority":0,"commit":"fff7dfe72abd67574266d67b9dc3918fee014041","script_sha256":"5dbad7dd0b9b122dcd9956884390f4aac4738caba8ff53498a7ab6718b176c30","image":"localhost/ml-agent-test:e60270bf5c82","image_digest":"sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","secrets":[],"network":"none","unit":"ml-job@t5qaxcbpl27m.service","max_attempts":3,"retry_on":["exit-code"],"attempt":2,"attempts":[{"number":1,"invocation_id":"0123456789abcdef0123456789abcdef","container_id":"","exit_status":3,"reason":"exit-code","message":"The script exited with status 3.","started_at":"2026-11-30T17:47:22.074Z","finished_at":"2026-11-30T17:47:22.079Z"}],"not_before":"2026-11-30T17:52:22.087Z","cancel_requested":false,"created_at":"2026-11-30T17:47:22.056Z","pinned":false,"revision":3}',NULL);
INSERT INTO "jobs" VALUES(12,'r6nplmca53ti','r6nplmca','alice','succeed.py','RUNNING',1,'boot:1','{"job_id":"r6nplmca53ti","status":"RUNNING","container_id":"","owner":"alice","script_name":"succeed.py","hyperparameters":{},"labels":{},"limits":{"memory_bytes":67108864,"cpus":1.0,"tasks":512,"run_time_seconds":60,"artifact_bytes":8589934592,"artifact_files":10000},"priority":0,"commit":"fff7dfe72abd67574266d67b9dc3918fee014041","script_sha256":"5dbad7dd0b9b122dcd9956884390f4aac4738caba8ff53498a7ab6718b176c30","image":"localhost/ml-agent-test:e60270bf5c82","image_digest":"sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","secrets":[],"network":"none","unit":"ml-job@r6nplmca53ti.service","max_attempts":1,"retry_on":["interrupted","start-failed"],"attempt":1,"attempts":[],"invocation_id":"0123456789abcdef0123456789abcdef","cancel_requested":false,"created_at":"2026-11-30T17:47:22.102Z","started_at":"2026-11-30T17:47:22.123Z","pinned":false,"revision":3}',NULL);
INSERT INTO "jobs" VALUES(13,'n6jopblaj6xd','n6jopbla','alice','succeed.py','RUNNING',1,'boot:1','{"job_id":"n6jopblaj6xd","status":"RUNNING","container_id":"","owner":"alice","script_name":"succeed.py","hyperparameters":{},"labels":{},"limits":{"memory_bytes":67108864,"cpus":1.0,"tasks":512,"run_time_seconds":60,"artifact_bytes":8589934592,"artifact_files":10000},"priority":0,"commit":"fff7dfe72abd67574266d67b9dc3918fee014041","script_sha256":"5dbad7dd0b9b122dcd9956884390f4aac4738caba8ff53498a7ab6718b176c30","image":"localhost/ml-agent-test:e60270bf5c82","image_digest":"sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","secrets":[],"network":"none","unit":"ml-job@n6jopblaj6xd.service","max_attempts":1,"retry_on":["interrupted","start-failed"],"attempt":1,"attempts":[],"invocation_id":"0123456789abcdef0123456789abcdef","cancel_requested":true,"created_at":"2026-11-30T17:47:22.149Z","started_at":"2026-11-30T17:47:22.174Z","pinned":false,"revision":4}',NULL);
INSERT INTO "jobs" VALUES(14,'cs3tqe7ybwvu','cs3tqe7y','alice','succeed.py','CREATED',1,'boot:1','{"job_id":"cs3tqe7ybwvu","status":"CREATED","container_id":"","owner":"alice","script_name":"succeed.py","hyperparameters":{},"labels":{},"limits":{"memory_bytes":67108864,"cpus":1.0,"tasks":512,"run_time_seconds":60,"artifact_bytes":8589934592,"artifact_files":10000},"priority":0,"commit":"fff7dfe72abd67574266d67b9dc3918fee014041","script_sha256":"5dbad7dd0b9b122dcd9956884390f4aac4738caba8ff53498a7ab6718b176c30","image":"localhost/ml-agent-test:e60270bf5c82","image_digest":"sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","secrets":[],"network":"none","unit":"ml-job@cs3tqe7ybwvu.service","max_attempts":1,"retry_on":["interrupted","start-failed"],"attempt":1,"attempts":[],"cancel_requested":false,"created_at":"2026-11-30T17:47:22.211Z","pinned":false,"revision":2}',NULL);
INSERT INTO "jobs" VALUES(15,'7r2zrgeh5u5m','7r2zrgeh','alice','succeed.py','RUNNING',1,'boot:1','{"job_id":"7r2zrgeh5u5m","status":"RUNNING","container_id":"","owner":"alice","script_name":"succeed.py","hyperparameters":{},"labels":{},"limits":{"memory_bytes":67108864,"cpus":1.0,"tasks":512,"run_time_seconds":60,"artifact_bytes":8589934592,"artifact_files":10000},"priority":0,"commit":"fff7dfe72abd67574266d67b9dc3918fee014041","script_sha256":"5dbad7dd0b9b122dcd9956884390f4aac4738caba8ff53498a7ab6718b176c30","image":"localhost/ml-agent-test:e60270bf5c82","image_digest":"sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","secrets":[],"network":"none","unit":"ml-job@7r2zrgeh5u5m.service","max_attempts":1,"retry_on":["interrupted","start-failed"],"attempt":1,"attempts":[],"invocation_id":"0123456789abcdef0123456789abcdef","cancel_requested":false,"created_at":"2026-11-30T17:47:22.242Z","started_at":"2026-11-30T17:47:22.262Z","pinned":false,"revision":3}',NULL);
INSERT INTO "jobs" VALUES(16,'slc2cni4wrm2','slc2cni4','alice','succeed.py','PENDING',1,'','{"job_id":"slc2cni4wrm2","status":"PENDING","container_id":"","owner":"alice","script_name":"succeed.py","hyperparameters":{"depth":"7","rate":"0.5"},"labels":{},"limits":{"memory_bytes":67108864,"cpus":1.0,"tasks":512,"run_time_seconds":60,"artifact_bytes":8589934592,"artifact_files":10000},"priority":-3,"commit":"fff7dfe72abd67574266d67b9dc3918fee014041","script_sha256":"5dbad7dd0b9b122dcd9956884390f4aac4738caba8ff53498a7ab6718b176c30","image":"localhost/ml-agent-test:e60270bf5c82","image_digest":"sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","secrets":[],"network":"none","unit":"ml-job@slc2cni4wrm2.service","max_attempts":1,"retry_on":["interrupted","start-failed"],"attempt":1,"attempts":[],"cancel_requested":false,"created_at":"2026-11-30T17:47:22.294Z","pinned":false,"revision":1}',NULL);
INSERT INTO "jobs" VALUES(17,'pk7qv4ovu4gt','pk7qv4ov','bob','succeed.py','CANCELLED',0,'','{"job_id":"pk7qv4ovu4gt","status":"CANCELLED","reason":"cancelled","container_id":"","owner":"bob","script_name":"succeed.py","hyperparameters":{},"labels":{},"limits":{"memory_bytes":67108864,"cpus":1.0,"tasks":512,"run_time_seconds":60,"artifact_bytes":8589934592,"artifact_files":10000},"priority":0,"commit":"fff7dfe72abd67574266d67b9dc3918fee014041","script_sha256":"5dbad7dd0b9b122dcd9956884390f4aac4738caba8ff53498a7ab6718b176c30","image":"localhost/ml-agent-test:e60270bf5c82","image_digest":"sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","secrets":[],"network":"none","unit":"ml-job@pk7qv4ovu4gt.service","max_attempts":1,"retry_on":["interrupted","start-failed"],"attempt":1,"attempts":[],"cancel_requested":true,"created_at":"2026-11-30T17:47:22.303Z","finished_at":"2026-11-30T17:47:22.304Z","pinned":false,"revision":2}',NULL);
INSERT INTO "jobs" VALUES(18,'dl5qagfgi5x5','dl5qagfg','bob','succeed.py','PENDING',1,'','{"job_id":"dl5qagfgi5x5","status":"PENDING","container_id":"","owner":"bob","script_name":"succeed.py","hyperparameters":{},"labels":{},"limits":{"memory_bytes":67108864,"cpus":1.0,"tasks":512,"run_time_seconds":60,"artifact_bytes":8589934592,"artifact_files":10000},"priority":0,"commit":"fff7dfe72abd67574266d67b9dc3918fee014041","script_sha256":"5dbad7dd0b9b122dcd9956884390f4aac4738caba8ff53498a7ab6718b176c30","image":"localhost/ml-agent-test:e60270bf5c82","image_digest":"sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","secrets":[],"network":"none","unit":"ml-job@dl5qagfgi5x5.service","max_attempts":1,"retry_on":["interrupted","start-failed"],"attempt":1,"attempts":[],"cancel_requested":false,"created_at":"2026-11-30T17:47:22.306Z","pinned":false,"revision":1}',NULL);
CREATE TABLE leaving (
        job_id TEXT PRIMARY KEY
    ) WITHOUT ROWID;
INSERT INTO "leaving" VALUES('qlnd7juhibpv');
CREATE TABLE unarchived (
        job_id TEXT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE
    ) WITHOUT ROWID;
INSERT INTO "unarchived" VALUES('imqdpsieqja7');
INSERT INTO "unarchived" VALUES('pk7qv4ovu4gt');
CREATE TABLE uses (
        owner TEXT PRIMARY KEY,
        seconds REAL NOT NULL,
        at TEXT NOT NULL
    ) WITHOUT ROWID;
INSERT INTO "uses" VALUES('alice',2.99979105459493702303e+01,'2026-11-30T17:47:22.087Z');
CREATE INDEX jobs_by_owner ON jobs (owner, seq);
CREATE INDEX jobs_by_status ON jobs (status, seq);
CREATE INDEX jobs_by_script ON jobs (script, seq);
CREATE INDEX jobs_active ON jobs (seq) WHERE active;
CREATE INDEX jobs_by_owner_and_status ON jobs (owner, status, seq);
CREATE INDEX changes_by_owner ON changes (owner, seq);
CREATE INDEX changes_removed ON changes (seq) WHERE removed;
CREATE TRIGGER job_added AFTER INSERT ON jobs BEGIN
        DELETE FROM changes WHERE job_id = new.id;
        INSERT INTO changes (job_id, owner, removed) VALUES (new.id, new.owner, 0);
    END;
CREATE TRIGGER job_changed AFTER UPDATE OF document ON jobs WHEN new.document IS NOT old.document BEGIN
        DELETE FROM changes WHERE job_id = new.id;
        INSERT INTO changes (job_id, owner, removed) VALUES (new.id, new.owner, 0);
    END;
CREATE TRIGGER job_removed AFTER DELETE ON jobs BEGIN
        DELETE FROM changes WHERE job_id = old.id;
        INSERT INTO changes (job_id, owner, removed) VALUES (old.id, old.owner, 1);
    END;
CREATE TRIGGER removals_bounded AFTER INSERT ON changes WHEN new.removed BEGIN
        UPDATE change_history SET forgotten = coalesce(
            (SELECT seq FROM changes WHERE removed ORDER BY seq DESC LIMIT 1 OFFSET 1000), forgotten
        );
        DELETE FROM changes WHERE removed AND seq <= (SELECT forgotten FROM change_history);
    END;
CREATE INDEX jobs_unmeasured ON jobs (seq) WHERE NOT active AND bytes IS NULL;
CREATE INDEX jobs_finished ON jobs (finished_at, seq) WHERE NOT active AND NOT pinned;
CREATE INDEX jobs_with_files ON jobs (finished_at, seq, bytes)
        WHERE NOT active AND NOT pinned AND removed_at IS NULL;
CREATE INDEX jobs_pinned ON jobs (owner) WHERE pinned;
CREATE INDEX jobs_by_commit ON jobs (revision_of_scripts);
CREATE INDEX idempotency_keys_by_job ON idempotency_keys (job_id);
CREATE TRIGGER audit_unchanged BEFORE UPDATE ON audit BEGIN
        SELECT RAISE(ABORT, 'rows of the audit are not changed');
    END;
CREATE TRIGGER audit_kept BEFORE DELETE ON audit WHEN old.seq > (SELECT seq FROM audit_anchor) BEGIN
        SELECT RAISE(ABORT, 'rows of the audit are not removed');
    END;
CREATE TRIGGER audit_in_order BEFORE INSERT ON audit
        WHEN new.seq != 1 + coalesce((SELECT max(seq) FROM audit), (SELECT seq FROM audit_anchor)) BEGIN
        SELECT RAISE(ABORT, 'rows of the audit are appended');
    END;
CREATE TRIGGER audit_anchor_moves BEFORE UPDATE ON audit_anchor
        WHEN NOT EXISTS (SELECT 1 FROM audit WHERE seq = new.seq AND hash = new.hash) BEGIN
        SELECT RAISE(ABORT, 'the anchor of the audit is the last row that was archived');
    END;
CREATE TRIGGER audit_anchor_stays BEFORE DELETE ON audit_anchor BEGIN
        SELECT RAISE(ABORT, 'the audit has an anchor');
    END;
CREATE INDEX jobs_by_image ON jobs (image_digest);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('changes',55);
INSERT INTO "sqlite_sequence" VALUES('jobs',18);
COMMIT;
PRAGMA user_version = 8;
