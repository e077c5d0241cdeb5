CREATE TABLE "experiments" (
	experiment_id INTEGER NOT NULL, 
	name VARCHAR(256) NOT NULL, 
	artifact_location VARCHAR(256), 
	lifecycle_stage VARCHAR(32), 
	creation_time BIGINT, 
	last_update_time BIGINT, 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	CONSTRAINT experiment_pk PRIMARY KEY (experiment_id), 
	CONSTRAINT experiments_lifecycle_stage CHECK (lifecycle_stage IN ('active', 'deleted')), 
	CONSTRAINT uq_experiments_workspace_name UNIQUE (workspace, name)
);
INSERT INTO "experiments" VALUES(0,'Default','/tmp/mlruns/0','active',1795953690518,1795953690518,'default');
INSERT INTO "experiments" VALUES(1,'mix','/tmp/mlruns/1','active',1795953690555,1795953690555,'default');
CREATE TABLE "metrics" (
	"key" VARCHAR(250) NOT NULL, 
	value FLOAT NOT NULL, 
	timestamp BIGINT NOT NULL, 
	run_uuid VARCHAR(32) NOT NULL, 
	step BIGINT DEFAULT '0' NOT NULL, 
	is_nan BOOLEAN DEFAULT '0' NOT NULL, 
	CONSTRAINT metric_pk PRIMARY KEY ("key", timestamp, step, run_uuid, value, is_nan), 
	FOREIGN KEY(run_uuid) REFERENCES runs (run_uuid), 
	CHECK (is_nan IN (0, 1))
);
INSERT INTO "metrics" VALUES('tokens',6553600.0,1795953691092,'a4df72c3b76e49b6976db53751f4c508',100,0);
INSERT INTO "metrics" VALUES('eval_general_loss',3.16015625,1795953692735,'a4df72c3b76e49b6976db53751f4c508',100,0);
INSERT INTO "metrics" VALUES('eval_domain_loss',2.27734375,1795953695942,'a4df72c3b76e49b6976db53751f4c508',100,0);
INSERT INTO "metrics" VALUES('tokens',13107200.0,1795953696010,'a4df72c3b76e49b6976db53751f4c508',200,0);
INSERT INTO "metrics" VALUES('eval_general_loss',3.2578125,1795953696051,'a4df72c3b76e49b6976db53751f4c508',200,0);
INSERT INTO "metrics" VALUES('eval_domain_loss',2.1796875,1795953696071,'a4df72c3b76e49b6976db53751f4c508',200,0);
INSERT INTO "metrics" VALUES('tokens',6553600.0,1795953696169,'9fa47f47c53249bbbbdf74582ab7ec95',100,0);
INSERT INTO "metrics" VALUES('eval_general_loss',3.22265625,1795953696194,'9fa47f47c53249bbbbdf74582ab7ec95',100,0);
INSERT INTO "metrics" VALUES('eval_domain_loss',2.15234375,1795953696218,'9fa47f47c53249bbbbdf74582ab7ec95',100,0);
INSERT INTO "metrics" VALUES('tokens',13107200.0,1795953696444,'9fa47f47c53249bbbbdf74582ab7ec95',200,0);
INSERT INTO "metrics" VALUES('eval_general_loss',3.3203125,1795953701514,'9fa47f47c53249bbbbdf74582ab7ec95',200,0);
INSERT INTO "metrics" VALUES('eval_domain_loss',2.0546875,1795953701574,'9fa47f47c53249bbbbdf74582ab7ec95',200,0);
CREATE TABLE "params" (
	"key" VARCHAR(250) NOT NULL, 
	value VARCHAR(8000) NOT NULL, 
	run_uuid VARCHAR(32) NOT NULL, 
	CONSTRAINT param_pk PRIMARY KEY ("key", run_uuid), 
	FOREIGN KEY(run_uuid) REFERENCES runs (run_uuid)
);
INSERT INTO "params" VALUES('domain_ratio','0.25','a4df72c3b76e49b6976db53751f4c508');
INSERT INTO "params" VALUES('model','70M','a4df72c3b76e49b6976db53751f4c508');
INSERT INTO "params" VALUES('domain_ratio','0.5','9fa47f47c53249bbbbdf74582ab7ec95');
INSERT INTO "params" VALUES('model','70M','9fa47f47c53249bbbbdf74582ab7ec95');
CREATE TABLE "runs" (
	run_uuid VARCHAR(32) NOT NULL, 
	name VARCHAR(250), 
	source_type VARCHAR(20), 
	source_name VARCHAR(500), 
	entry_point_name VARCHAR(50), 
	user_id VARCHAR(256), 
	status VARCHAR(9), 
	start_time BIGINT, 
	end_time BIGINT, 
	source_version VARCHAR(50), 
	lifecycle_stage VARCHAR(20), 
	artifact_uri VARCHAR(200), 
	experiment_id INTEGER, deleted_time BIGINT, 
	CONSTRAINT run_pk PRIMARY KEY (run_uuid), 
	CONSTRAINT runs_lifecycle_stage CHECK (lifecycle_stage IN ('active', 'deleted')), 
	CONSTRAINT source_type CHECK (source_type IN ('NOTEBOOK', 'JOB', 'LOCAL', 'UNKNOWN', 'PROJECT')), 
	FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id), 
	CHECK (status IN ('SCHEDULED', 'FAILED', 'FINISHED', 'RUNNING', 'KILLED'))
);
INSERT INTO "runs" VALUES('a4df72c3b76e49b6976db53751f4c508','r0.25-s0','UNKNOWN','','','user','FINISHED',1795953690608,1795953696088,'','active','/tmp/mlruns/1/a4df72c3b76e49b6976db53751f4c508/artifacts',1,NULL);
INSERT INTO "runs" VALUES('9fa47f47c53249bbbbdf74582ab7ec95','r0.5-s1','UNKNOWN','','','user','FINISHED',1795953696120,1795953701602,'','active','/tmp/mlruns/1/9fa47f47c53249bbbbdf74582ab7ec95/artifacts',1,NULL);
